import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { expect, test } from "vitest";
import { startTestApp } from "../support/app.ts";
import { type Certificate, createAuthority } from "../support/certificates.ts";
import { createDatabase } from "../support/database.ts";
import { createFolder } from "../support/folder.ts";
import { type Exit, runCli } from "../support/process.ts";
import { insertJob } from "../support/rows.ts";

/** Runs `get` to its end. */
async function got(reqId: string, env: Readonly<Record<string, string>>): Promise<Exit> {
  await using running = runCli(["get", reqId], { REQUEST_TIMEOUT: "20s", ...env });
  return await running.exit;
}

/** Asks a server of the test. */
async function gotFrom(server: Server): Promise<Exit> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const exit = await got(crypto.randomUUID(), { STATUS_URL: `http://127.0.0.1:${port}` });
  server.close();
  await once(server, "close");
  return exit;
}

// A proxy's answers have no JSON of Connect's.
test.for([408, 425, 429, 502, 503, 504])("a proxy that answers %d: 4", async (status) => {
  const exit = await gotFrom(createHttpServer((_, response) => response.writeHead(status).end("<html>")));
  expect(exit).toMatchObject({ code: 4, stdout: "" });
  expect(exit.stderr).toMatch(/^UNAVAILABLE: .* \(asked http:.*\)\n$/);
});

test.for<{ how: string; hangUp: (socket: Socket) => unknown }>([
  { how: "at once", hangUp: (socket) => socket.destroy() },
  { how: "with a reset", hangUp: (socket) => socket.resetAndDestroy() },
  { how: "after the request", hangUp: (socket) => socket.once("data", () => socket.destroy()) },
  {
    how: "in its answer",
    hangUp: (socket) =>
      socket.once("data", () =>
        socket.end("HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: 9\r\n\r\n!"),
      ),
  },
  {
    how: "with a 503, before it has read the request",
    hangUp: (socket) => socket.resume().end("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n"),
  },
])("a server that hangs up $how: 4", async ({ hangUp }) => {
  const exit = await gotFrom(
    createServer((socket) => {
      socket.on("error", () => {});
      hangUp(socket);
    }),
  );
  expect(exit).toMatchObject({ code: 4, stdout: "" });
  expect(exit.stderr).toMatch(/^UNAVAILABLE: .* \(asked http:.*\)\n$/);
});

test("a server that wants a certificate: 0 with one, 5 or 4 without, 1 where the server's own is not trusted", async () => {
  await using folder = await createFolder();
  const authority = await createAuthority("Tests of get");
  const ca = await folder.write("ca.pem", authority.cert);
  const filesOf = async (name: string, { cert, key }: Certificate) => ({
    cert: await folder.write(`${name}.crt`, cert),
    key: await folder.write(`${name}.key`, key),
  });
  const server = await filesOf("server", await authority.issue("status", "localhost"));
  const client = await filesOf("client", await authority.issue("somebody"));
  await using database = await createDatabase();
  await using secured = await startTestApp({
    DATABASE_URL: database.url,
    TLS_CERT: server.cert,
    TLS_KEY: server.key,
    TLS_CLIENT_CA: ca,
  });
  const reqId = await insertJob(database.db);
  const trusting = { STATUS_URL: secured.url, NODE_EXTRA_CA_CERTS: ca };
  const showing = { STATUS_CLIENT_CERT: client.cert, STATUS_CLIENT_KEY: client.key };
  expect(await got(reqId, { ...trusting, ...showing })).toMatchObject({ code: 0, stderr: "" });
  // Where the end of the connection overtakes TLS's alert, the reason is unknown.
  expect([4, 5]).toContain((await got(reqId, trusting)).code);
  expect(await got(reqId, { STATUS_URL: secured.url, ...showing })).toMatchObject({ code: 1 });
});
