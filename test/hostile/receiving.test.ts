import { type ClientHttp2Stream, connect, constants } from "node:http2";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openPeer } from "../support/peer.ts";
import { startTarget, type Target } from "./support.ts";

let target: Target;

/** The size of a message, in bytes. */
const size = 200 * 2 ** 10;

beforeAll(async () => {
  target = await startTarget({ MAX_MESSAGE_SIZE: "256KiB", MAX_RECEIVING_SIZE: "512KiB" });
});

afterAll(() => target[Symbol.asyncDispose]());

const method = "/gomemory.status.v1.StatusService/GetStatus";

/** Sends all but the last byte of a message, on a connection of its own. @returns a function that ends the call. */
const unfinished = {
  "HTTP/1.1": async () => {
    const peer = await openPeer(target.serving.port);
    const head = `POST ${method} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${size}`;
    peer.send(`${head}\r\n\r\n${" ".repeat(size - 1)}`);
    return () => peer.socket.destroy();
  },
  "HTTP/2": () => {
    const session = connect(target.serving.url).on("error", () => {});
    const headers = { ":method": "POST", ":path": method, "content-type": "application/grpc" };
    const stream: ClientHttp2Stream = session.request(headers).on("error", () => {});
    const message = Buffer.alloc(size - 1);
    message.writeUInt32BE(size, 1);
    stream.write(message);
    return Promise.resolve(() => {
      stream.close(constants.NGHTTP2_CANCEL);
      session.close();
    });
  },
};

/** Makes a call with a message of the same size and a malformed id. @returns the HTTP status. */
async function callWithLargeMessage(): Promise<number> {
  const response = await fetch(target.serving.url + method, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ reqId: "x".repeat(size) }),
  });
  await response.arrayBuffer();
  return response.status;
}

test.for(
  Object.entries(unfinished),
)("over %s, messages that never end take no more memory together than MAX_RECEIVING_SIZE", async ([
  ,
  send,
]) => {
  expect(await callWithLargeMessage()).toBe(400);
  const ends: (() => void)[] = [];
  // The unfinished message may be shed itself, instead of the call after it.
  const sendAnother = async () => {
    ends.push(await send());
    return await callWithLargeMessage();
  };
  // 429 is Connect's RESOURCE_EXHAUSTED.
  await expect.poll(sendAnother, { timeout: 10_000 }).toBe(429);
  await target.honest.check();

  for (const end of ends) end();
  await expect.poll(callWithLargeMessage, { timeout: 10_000 }).toBe(400);
});
