import { describe } from "vitest";
import { startClientProgram } from "./client.ts";
import { buildJava } from "./java.ts";
import { testRest } from "./rest-clients.ts";
import { useServices } from "./services.ts";

const okHttp = await buildJava("okhttp", "OkHttp", "okhttp-jvm");

describe.skipIf(okHttp.skipped)(okHttp.title, () => {
  const services = useServices();
  const start = (url: string, ...args: string[]) =>
    startClientProgram(okHttp.path, [...okHttp.args, `--target=${url}`, ...args]);

  testRest(services, [
    { name: "REST, HTTP/1.1", version: "HTTP/1.1", start: (url) => start(url) },
    {
      name: "REST, HTTP/2",
      version: "HTTP/2",
      resetsCancelled: true,
      start: (url) => start(url, "--http2"),
    },
    {
      name: "REST, HTTP/2 over TLS",
      version: "HTTP/2",
      secure: true,
      resetsCancelled: true,
      start: (url, certificate) => start(url, `--ca=${certificate}`),
    },
  ]);
});
