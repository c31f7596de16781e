import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buf, downloadGo, installGo } from "./tools.ts";

const suiteModule = "connectrpc.com/conformance";
const version = "v1.0.7";
const suite = await installGo("connectconformance", `${suiteModule}/cmd/connectconformance`, version);

const server = join(import.meta.dirname, "conformance", "server.ts");

/** What we speak, as the suite's Config names it. */
const features = {
  codecs: ["CODEC_PROTO", "CODEC_JSON"],
  compressions: ["COMPRESSION_IDENTITY", "COMPRESSION_GZIP"],
  supportsTls: true,
  supportsTlsClientCerts: true,
  // connect-es answers 505 HTTP Version Not Supported: a stream both ways takes HTTP/2.
  supportsHalfDuplexBidiOverHttp1: false,
};

const protocols = [
  { name: "Connect, HTTP/1.1", protocols: ["PROTOCOL_CONNECT"], versions: ["HTTP_VERSION_1"] },
  { name: "gRPC-Web, HTTP/1.1", protocols: ["PROTOCOL_GRPC_WEB"], versions: ["HTTP_VERSION_1"] },
  { name: "Connect, HTTP/2", protocols: ["PROTOCOL_CONNECT"], versions: ["HTTP_VERSION_2"] },
  { name: "gRPC-Web, HTTP/2", protocols: ["PROTOCOL_GRPC_WEB"], versions: ["HTTP_VERSION_2"] },
  // The suite calls these by connect-go, and a part of them by grpc-go, too.
  { name: "gRPC, HTTP/2", protocols: ["PROTOCOL_GRPC"], versions: ["HTTP_VERSION_2"] },
];

describe.skipIf(suite.skipped)(`${suite.title} (Connect conformance suite, with TLS and without)`, () => {
  let directory: string;
  let image: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "gomemory-status-conformance-"));
    image = join(directory, "protos.binpb");
    await buf("build", join(await downloadGo(suiteModule, version), "proto"), "-o", image);
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** @returns how many cases there were, and how many calls the lane answered. @throws with what the suite says of failures. */
  async function run(lane: "on" | "off", spoken: object): Promise<{ cases: number; laneCalls: number }> {
    const config = join(directory, "config.json");
    await writeFile(config, JSON.stringify({ features: { ...features, ...spoken } }));
    const underTest = [process.execPath, server, lane, image];
    const args = ["--mode", "server", "--conf", config, "--", ...underTest];
    const { stdout, stderr } = await promisify(execFile)(suite.path, args).catch(
      (error: { stdout: string }) => {
        throw new Error(`the suite says:\n${error.stdout}`);
      },
    );
    const [, cases] = /^Total cases: (\d+)$/m.exec(stdout) ?? [];
    const laneCalls = Array.from(stderr.matchAll(/^calls answered by the fast path: (\d+)$/gm), ([, n]) =>
      Number(n),
    );
    return { cases: Number(cases), laneCalls: laneCalls.reduce((sum, n) => sum + n, 0) };
  }

  // None of them may fail: there is no list of known failures.
  describe.for([
    { lane: "on", spoken: protocols },
    // Over HTTP/1.1 there is no lane.
    { lane: "off", spoken: protocols.filter(({ versions }) => versions.includes("HTTP_VERSION_2")) },
  ] as const)("GRPC_FAST_PATH=$lane", ({ lane, spoken }) => {
    // The suite measures deadlines by the clock: what a busy machine keeps waiting may pass when it is asked again.
    test.for(spoken)("$name", { retry: 1 }, async ({ name, ...config }, { task }) => {
      const { cases, laneCalls } = await run(lane, config);
      task.meta.cases = cases;
      expect(cases).toBeGreaterThan(300);
      expect(laneCalls > 0).toBe(lane === "on" && name.startsWith("gRPC,"));
    });
  });
});
