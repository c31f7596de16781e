import { expect, test } from "vitest";
import { type CompatibilityResult, compatibilityPage } from "../interop/compatibility-page.ts";

const passed = (client: string, ...names: string[]): CompatibilityResult => ({
  client,
  names,
  state: "passed",
});

test("compatibility is a matrix of tools and protocols, and every case below it", () => {
  const page = compatibilityPage([
    passed("curl 8", "--http2", "a status"),
    passed("curl 8", "--http2", "Connect, JSON by POST"),
    { ...passed("curl 8", "--fail", "exit code 22"), state: "failed" },
    passed("grpcurl 1", "list"),
    passed("k6 1", "gRPC over TLS", "all four statuses"),
    passed("connect-web 2", "gRPC-Web", "gzip"),
    { ...passed("suite 1", "Connect, HTTP/2"), cases: 1_200 },
    { ...passed("nginx 1", "reverse proxy", "REST, HTTP/1.1: the same | another"), state: "skipped" },
    passed("sslyze 6", "Mozilla's intermediate profile, RSA", "nothing that it does not allow"),
  ]);
  const [matrix = "", cases = ""] = page.split("\n## Every case\n");
  expect(matrix.split("\n").filter((line) => /^\| \w+ |^\| \w+-\w+ /.test(line))).toEqual([
    "| client or proxy | REST | Connect | gRPC-Web | gRPC | TLS |",
    "| connect-web 2 | - | - | 1 | - | - |",
    "| curl 8 | **1 of 2** | 1 | - | - | - |",
    "| grpcurl 1 | - | - | - | 1 | - |",
    "| k6 1 | - | - | - | 1 | - |",
    "| nginx 1 | skipped | - | - | - | - |",
    "| sslyze 6 | - | - | - | - | 1 |",
    "| suite 1 | - | 1,200 | - | - | - |",
  ]);
  expect(cases).toContain("| curl 8 | --fail: exit code 22 | **fails** |\n");
  expect(cases).toContain("| suite 1 | Connect, HTTP/2 | passes: 1200 cases, no known failures |\n");
  expect(cases).toContain("REST, HTTP/1.1: the same \\| another | skipped (INTEROP_SKIP) |\n");
});
