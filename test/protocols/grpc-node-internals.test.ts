import { once } from "node:events";
import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import {
  fieldBlock,
  respondInOneWrite,
  sendTrailersInOneWrite,
} from "../../src/protocols/grpc/node-internals.ts";
import {
  type Frame,
  flag,
  frame,
  frameReader,
  frameType,
  preface,
  restCall,
} from "../support/http2-frames.ts";
import { openPeer, type Peer } from "../support/peer.ts";

// When one of these fails with a new version of Node, src/protocols/grpc/node-internals.ts needs another way.

const get = (stream: number) =>
  frame(frameType.headers, flag.endHeaders | flag.endStream, stream, restCall("any"));
const endsStream = ({ type, flags }: Frame) => type === frameType.headers && (flags & flag.endStream) !== 0;

/** Calls a server of Node's that answers with a body and trailers. @returns what arrived together, for each time that anything did. */
async function call(body: Buffer, respond: (stream: ServerHttp2Stream) => void): Promise<Frame[][]> {
  const server = createServer().on("stream", (stream: ServerHttp2Stream) => {
    // As the fast path does, the response waits for the end of the request.
    stream.resume().on("end", () => respond(stream));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const arrived: Frame[][] = [];
  {
    using peer: Peer = await openPeer((server.address() as AddressInfo).port);
    const read = frameReader();
    peer.socket.on("data", (chunk: Buffer) => arrived.push(read(chunk)));
    peer.send(preface);
    await peer.frame(({ type }) => type === frameType.settings);
    peer.send(get(1));
    await peer.frame(endsStream);
  }
  server.close();
  await once(server, "close");
  const answer = arrived.map((frames) => frames.filter(({ stream }) => stream === 1));
  expect(
    Buffer.concat(
      answer
        .flat()
        .filter(({ type }) => type === frameType.data)
        .map((f) => f.payload),
    ),
  ).toEqual(body);
  return answer.filter((frames) => frames.length > 0);
}

test.for([
  10, 50_000,
])("respondInOneWrite, sendTrailersInOneWrite: %i bytes, their headers and trailers", async (size) => {
  const body = Buffer.alloc(size, "x");
  const answer = await call(body, (stream) => {
    stream.on("wantTrailers", () => sendTrailersInOneWrite(stream, fieldBlock(["grpc-status", "0"])));
    expect(stream.headersSent).toBe(false);
    expect(respondInOneWrite(stream, fieldBlock([":status", "200", "x-name", "x-value"]), body)).toBe(true);
    expect(stream.headersSent).toBe(true);
  });
  expect(answer).toHaveLength(1);
  const [headers, ...rest] = answer.flat();
  const last = rest.pop();
  expect(headers).toMatchObject({ type: frameType.headers, flags: flag.endHeaders });
  expect(new Set(rest.map(({ type }) => type))).toEqual(new Set([frameType.data]));
  expect(last).toMatchObject({ type: frameType.headers, flags: flag.endHeaders | flag.endStream });
});

test("respondInOneWrite: node:http2 by itself takes more than one write", async () => {
  const body = Buffer.alloc(10, "x");
  const answer = await call(body, (stream) => {
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.respond({}, { waitForTrailers: true });
    stream.end(body);
  });
  expect(answer.length).toBeGreaterThan(1);
});

test("respondInOneWrite: a stream that Node keeps in another way is left alone", () => {
  const stream = {} as ServerHttp2Stream;
  expect(respondInOneWrite(stream, fieldBlock([":status", "200"]), Buffer.alloc(1))).toBe(false);
});
