import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { expect, test } from "vitest";
import { type Exit, runCli, startServing } from "../support/process.ts";

// test/repository/image.test.ts has `health` over TLS, and in the image.

async function checked(env: Readonly<Record<string, string>>): Promise<Exit> {
  await using running = runCli(["health"], { HOST: "127.0.0.1", ...env });
  return await running.exit;
}

/** Checks a server of the test. */
async function checkedServer(server: Server): Promise<Exit> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const exit = await checked({ PORT: String((server.address() as AddressInfo).port) });
  server.close();
  await once(server, "close");
  return exit;
}

test("a service that is alive, though not ready: 0", async () => {
  await using service = await startServing({ DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" });
  expect(await checked({ PORT: String(service.port) })).toEqual({
    code: 0,
    signal: null,
    stdout: "",
    stderr: "",
  });
});

test("another server: 1, and its answer", async () => {
  const exit = await checkedServer(createHttpServer((_, response) => response.writeHead(404).end("<html>")));
  expect(exit).toMatchObject({ code: 1, stdout: "", stderr: "not alive: HTTP 404\n" });
});

test.for([
  {},
  { TLS_CLIENT_CA: "/ca.pem" },
])("a server that does not answer: 1, after two seconds: %o", async (env) => {
  const silent = createServer((socket) => socket.on("error", () => {}).resume()).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const exit = await checked({ PORT: String((silent.address() as AddressInfo).port), ...env });
  silent.close();
  await once(silent, "close");
  expect(exit).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^not alive: .*(2000 ms|timeout)\n$/),
  });
});

test("a PORT that is not a number: 1", async () => {
  expect(await checked({ PORT: "http" })).toMatchObject({
    code: 1,
    stderr: 'not alive: PORT takes a port: it got "http"\n',
  });
});
