import { describe } from "vitest";
import { startClientProgram } from "./client.ts";
import { testRest } from "./rest-clients.ts";
import { buildRust } from "./rust.ts";
import { useServices } from "./services.ts";

const reqwest = await buildRust("reqwest");

describe.skipIf(reqwest.skipped)(reqwest.title, () => {
  const services = useServices();
  const start = (url: string, ...args: string[]) =>
    startClientProgram(reqwest.path, [`--target=${url}`, ...args]);

  testRest(services, [
    { name: "REST, HTTP/1.1", version: "HTTP/1.1", start: (url) => start(url) },
    {
      name: "REST, HTTP/2",
      version: "HTTP/2",
      resetsCancelled: true,
      start: (url) => start(url, "--http2"),
    },
    {
      name: "REST, HTTP/2 over rustls",
      version: "HTTP/2",
      secure: true,
      resetsCancelled: true,
      start: (url, certificate) => start(url, `--ca=${certificate}`),
    },
  ]);
});
