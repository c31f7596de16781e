import { describe } from "vitest";
import { startClientProgram } from "./client.ts";
import { buildJava } from "./java.ts";
import { testRest } from "./rest-clients.ts";
import { useServices } from "./services.ts";

const javaNet = await buildJava("java.net.http", "JavaNet");

describe.skipIf(javaNet.skipped)(javaNet.title, () => {
  const services = useServices();
  const start = (url: string, ...args: string[]) =>
    startClientProgram(javaNet.path, [...javaNet.args, `--target=${url}`, ...args]);

  testRest(services, [
    { name: "REST, HTTP/1.1", version: "HTTP/1.1", start: (url) => start(url, "--http1") },
    // The service ignores the upgrade, as a server may (RFC 9110, section 7.8).
    { name: "REST, asking for an upgrade to h2c", version: "HTTP/1.1", start: (url) => start(url) },
    {
      name: "REST, HTTP/2 over TLS",
      version: "HTTP/2",
      secure: true,
      resetsCancelled: true,
      // Beyond MAX_CONCURRENT_STREAMS, this client fails with "too many concurrent streams" instead of waiting.
      atMost: 100,
      start: (url, certificate) => start(url, `--ca=${certificate}`),
    },
  ]);
});
