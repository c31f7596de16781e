import { join } from "node:path";
import { describe } from "vitest";
import { startClientProgram } from "./client.ts";
import { installJs } from "./js.ts";
import { testRest } from "./rest-clients.ts";
import { useServices } from "./services.ts";

const { platform, arch } = process;
const bun = await installJs("bun", `@oven/bun-${platform}-${arch === "arm64" ? "aarch64" : arch}/bin/bun`);
const deno = await installJs("deno", `@deno/${platform}-${arch}${platform === "linux" ? "-glibc" : ""}/deno`);

const runtimes = [
  { tool: bun, args: ["run"], secure: "REST over TLS" },
  // Deno's client refuses HTTP/1.1 there.
  { tool: deno, args: ["run", "--allow-all", "--no-config"], secure: "REST, HTTP/2 over TLS" },
];

describe.for(runtimes)("$tool.title", ({ tool, args, secure }) => {
  describe.skipIf(tool.skipped)("fetch", () => {
    const services = useServices();
    const start = (url: string, ...more: string[]) =>
      startClientProgram(tool.path, [...args, join(tool.directory, "fetch.js"), `--target=${url}`, ...more]);

    testRest(services, [
      { name: "REST, HTTP/1.1", version: undefined, start: (url) => start(url) },
      {
        name: secure,
        version: undefined,
        secure: true,
        resetsCancelled: tool === deno,
        start: (url, certificate) => start(url, `--ca=${certificate}`),
      },
    ]);
  });
});
