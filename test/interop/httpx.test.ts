import { join } from "node:path";
import { describe } from "vitest";
import { startClientProgram } from "./client.ts";
import { testRest } from "./rest-clients.ts";
import { useServices } from "./services.ts";
import { installPython } from "./tools.ts";

const httpx = await installPython("httpx", ["httpx==0.28.1", "h2==4.4.1"]);

describe.skipIf(httpx.skipped)(httpx.title, () => {
  const services = useServices();
  const program = join(import.meta.dirname, "httpx", "client.py");
  const start = (url: string, ...args: string[]) =>
    startClientProgram(httpx.path, [program, `--target=${url}`, ...args]);

  // httpx does not reset the stream of a cancelled call, so the service does not notice the cancellation.
  testRest(services, [
    { name: "REST, HTTP/1.1", version: "HTTP/1.1", start: (url) => start(url) },
    {
      name: "REST, HTTP/2",
      version: "HTTP/2",
      start: (url) => start(url, "--http2"),
    },
    {
      name: "REST, HTTP/2 over TLS",
      version: "HTTP/2",
      secure: true,
      start: (url, certificate) => start(url, "--http2", `--ca=${certificate}`),
    },
  ]);
});
