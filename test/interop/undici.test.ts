import { join } from "node:path";
import { describe } from "vitest";
import { startClientProgram } from "./client.ts";
import { installJs } from "./js.ts";
import { testRest } from "./rest-clients.ts";
import { useServices } from "./services.ts";

const undici = await installJs("undici");

describe.skipIf(undici.skipped)(undici.title, () => {
  const services = useServices();
  const start = (url: string, ...args: string[]) =>
    startClientProgram(undici.path, [join(undici.directory, "undici.js"), `--target=${url}`, ...args]);

  testRest(services, [
    { name: "REST, HTTP/1.1", version: undefined, start: (url) => start(url) },
    {
      name: "REST, HTTP/1.1 with pipelining",
      version: undefined,
      start: (url) => start(url, "--http1=pipelining"),
    },
    {
      name: "REST, HTTP/2",
      version: undefined,
      resetsCancelled: true,
      start: (url) => start(url, "--http2=prior-knowledge"),
    },
    {
      name: "REST over TLS, allowH2",
      version: undefined,
      secure: true,
      resetsCancelled: true,
      start: (url, certificate) => start(url, `--ca=${certificate}`),
    },
  ]);
});
