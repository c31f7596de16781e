import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { openPeer } from "../support/peer.ts";
import { memoryAllowed, startTarget, type Target } from "./support.ts";

let target: Target;
let before: number;

beforeAll(async () => {
  target = await startTarget({ PEER_TIMEOUT: "1s" });
  await target.honest.check();
  before = target.memory();
});

afterAll(() => target[Symbol.asyncDispose]());

afterEach(async () => {
  await target.honest.check();
  expect(target.memory() - before).toBeLessThan(memoryAllowed);
});

const method = "/gomemory.status.v1.StatusService/GetStatus";
const bomb = gzipSync(Buffer.alloc(32 * 2 ** 20));
const prefixed = (isCompressed: number, length: number, body: Buffer) => {
  const prefix = Buffer.from([isCompressed, 0, 0, 0, 0]);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, body]);
};

/** @returns the trailers of a gRPC call. */
async function call(body: Buffer, headers: Record<string, string> = {}): Promise<Record<string, string>> {
  const session = connectHttp2(target.serving.url);
  const grpc = { ":method": "POST", ":path": method, "content-type": "application/grpc", te: "trailers" };
  const stream = session.request({ ...grpc, ...headers });
  // After its answer, the server resets a stream whose rest it need not read.
  stream.on("error", () => {});
  let status: Record<string, string> = {};
  for (const event of ["response", "trailers"]) {
    stream.on(event, (fields) => {
      if ("grpc-status" in fields) status = fields;
    });
  }
  stream.end(body);
  stream.resume();
  await once(stream, "close");
  session.destroy();
  return status;
}

const resourceExhausted = "8";
const unimplemented = "12";
test.for([
  { name: "a message with a length of 4 GiB", body: prefixed(0, 2 ** 32 - 1, Buffer.alloc(10)) },
  { name: "a message of 5 MiB", body: prefixed(0, 5 * 2 ** 20, Buffer.alloc(5 * 2 ** 20)) },
  { name: "a compression bomb", body: prefixed(1, bomb.length, bomb), encoding: "gzip" },
])("gRPC: $name is too large", async ({ body, encoding }) => {
  const trailers = await call(body, encoding === undefined ? {} : { "grpc-encoding": encoding });
  expect(trailers["grpc-status"]).toBe(resourceExhausted);
});

test.for([
  { name: "a truncated message", body: prefixed(0, 38, Buffer.from([0x0a, 36, 0x30])) },
  { name: "a truncated prefix", body: Buffer.from([0, 0]) },
  { name: "an empty body", body: Buffer.alloc(0) },
])("gRPC: $name is a mistake of the caller's", async ({ body }) => {
  // INVALID_ARGUMENT, or UNIMPLEMENTED for "no message", as gRPC's own servers answer.
  expect((await call(body))["grpc-status"]).toMatch(/^(3|12)$/);
});

test.for([
  { name: "a message of 5 MiB", body: Buffer.alloc(5 * 2 ** 20), headers: {} },
  { name: "a compression bomb", body: bomb, headers: { "Content-Encoding": "gzip" } },
])("Connect: $name is too large", async ({ body, headers }) => {
  const response = await fetch(target.serving.url + method, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: new Uint8Array(body),
  });
  expect(response.status).toBe(429);
  expect(await response.json()).toMatchObject({ code: "resource_exhausted" });
});

describe("Brotli, whose decoder takes 16 MiB for 27 bytes, is not supported, and the answer names gzip", () => {
  const brotli = brotliCompressSync("{}");
  const wanted = expect.stringContaining("gzip");

  test("gRPC", async () => {
    const trailers = await call(prefixed(1, brotli.length, brotli), { "grpc-encoding": "br" });
    expect(trailers).toMatchObject({ "grpc-status": unimplemented, "grpc-message": wanted });
  });

  test("Connect", async () => {
    const response = await fetch(target.serving.url + method, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Content-Encoding": "br" },
      body: new Uint8Array(brotli),
    });
    expect(response.status).toBe(501);
    expect(await response.json()).toMatchObject({ code: "unimplemented", message: wanted });
  });
});

test("a malformed body after its answer ends only its connection", async () => {
  using peer = await openPeer(target.serving.port);
  peer.send(
    `OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nPOST ${method} HTTP/1.1\r\nHost: x\r\n` +
      "Content-Type: application/x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
  );
  await peer.closed;
});

test("fifty bombs at once", async () => {
  const calls = Array.from({ length: 50 }, () =>
    call(prefixed(1, bomb.length, bomb), { "grpc-encoding": "gzip" }),
  );
  for (const trailers of await Promise.all(calls)) expect(trailers["grpc-status"]).toBe(resourceExhausted);
});
