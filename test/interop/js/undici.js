/**
 * Calls the service over REST by undici: over HTTP/1.1, with `--http1=pipelining` with ten calls on each connection, with
 * `--http2=prior-knowledge` over HTTP/2 by prior knowledge, and with `--ca` over the protocol that TLS negotiates.
 */
import { readFileSync } from "node:fs";
import { H2CClient, Pool, request } from "undici";
import { option, serve } from "./wire.js";

const target = option("target");
const dispatcher = open();

await serve(async (reqId, signal) => {
  const response = await request(`${target}/get_status/${reqId}`, { dispatcher, signal });
  const reason = response.headers["error-reason"];
  return { rest: { status: response.statusCode, reason, body: await response.body.text() } };
});
await dispatcher.close();

function open() {
  const ca = option("ca");
  if (ca !== undefined) return new Pool(target, { allowH2: true, connect: { ca: readFileSync(ca) } });
  if (option("http2")) return new H2CClient(target, { maxConcurrentStreams: 100, pipelining: 100 });
  return new Pool(target, option("http1") ? { connections: 10, pipelining: 10 } : {});
}
