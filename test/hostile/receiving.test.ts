import { type ClientHttp2Stream, connect, constants } from "node:http2";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openPeer } from "../support/peer.ts";
import { startTarget, type Target } from "./support.ts";

let target: Target;

/** Of a message, in bytes. */
const size = 200 * 2 ** 10;

beforeAll(async () => {
  target = await startTarget({ MAX_MESSAGE_SIZE: "256KiB", MAX_RECEIVING_SIZE: "512KiB" });
});

afterAll(() => target[Symbol.asyncDispose]());

const method = "/gomemory.status.v1.StatusService/GetStatus";

/** Sends all but the end of a message: over one protocol, on a connection of its own. @returns what ends it. */
const halves = {
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

/** Asks with a message that is as large, and malformed. @returns the HTTP status. */
async function ask(): Promise<number> {
  const response = await fetch(target.serving.url + method, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ reqId: "x".repeat(size) }),
  });
  await response.arrayBuffer();
  return response.status;
}

test.for(
  Object.entries(halves),
)("over %s, messages that never end take no more than they may together", async ([, sendHalf]) => {
  expect(await ask()).toBe(400);
  const ends: (() => void)[] = [];
  // One may be shed itself, beside the message that asks.
  const sendAnother = async () => {
    ends.push(await sendHalf());
    return await ask();
  };
  // 429 is Connect's RESOURCE_EXHAUSTED.
  await expect.poll(sendAnother, { timeout: 10_000 }).toBe(429);
  await target.honest.check();

  for (const end of ends) end();
  await expect.poll(ask, { timeout: 10_000 }).toBe(400);
});
