import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2, constants } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { BatchGetStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { framed } from "../support/calls.ts";
import { openPeer } from "../support/peer.ts";
import { memoryAllowed, smallHeap, startTarget, type Target } from "./support.ts";

const grpc = { ":method": "POST", "content-type": "application/grpc", te: "trailers" };

let target: Target;
let before: number;

beforeAll(async () => {
  target = await startTarget({ PEER_TIMEOUT: "1s", NODE_OPTIONS: smallHeap });
  await target.honest.check();
  before = target.memory();
});

afterAll(() => target[Symbol.asyncDispose]());

afterEach(async () => {
  await target.honest.check();
  expect(target.memory() - before).toBeLessThan(memoryAllowed);
});

function openSession(): ClientHttp2Session {
  return connectHttp2(target.serving.url).on("error", () => {});
}

describe("a body of POST /get_status:batch that does not come is waited for no longer than PEER_TIMEOUT", () => {
  const head = "POST /get_status:batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  const peers = [
    { name: "no body", first: `${head}Content-Length: 90\r\n\r\n` },
    { name: "byte by byte", first: `${head}Content-Length: 40000\r\n\r\n`, drip: " " },
    { name: "chunks, byte by byte", first: `${head}Transfer-Encoding: chunked\r\n\r\n`, drip: "1\r\n \r\n" },
  ];
  test.for(peers)("HTTP/1.1: $name", async ({ first, drip }) => {
    using peer = await openPeer(target.serving.port);
    peer.send(first);
    if (drip !== undefined) peer.drip(drip.repeat(10_000), 10);
    expect((await peer.closed).toString("latin1")).toMatch(/^($|HTTP\/1\.1 408 )/);
  });

  test("HTTP/2", async () => {
    const session = openSession();
    const headers = { ":method": "POST", ":path": "/get_status:batch", "content-type": "application/json" };
    const stream = session.request(headers).on("error", () => {});
    stream.write('{"reqIds":[');
    await once(stream, "close");
    expect(stream.rstCode).toBe(constants.NGHTTP2_CANCEL);
    session.destroy();
  });
});

describe("floods of requests for many ids, of which one or all are malformed", () => {
  const zeros = "00000000-0000-4000-8000-000000000000";
  const rows = [
    { name: "1,000 malformed ids", reqIds: Array<string>(1_000).fill("x".repeat(50)) },
    { name: "one malformed id behind 999", reqIds: [...Array<string>(999).fill(zeros), ""] },
    { name: "20,000 empty ids", reqIds: Array<string>(20_000).fill("") },
  ];
  const rounds = 20;
  const atOnce = 10;

  async function repeated(call: (session: ClientHttp2Session) => Promise<unknown>): Promise<unknown[]> {
    const session = openSession();
    const told = new Set<unknown>();
    for (let round = 0; round < rounds; round++) {
      for (const each of await Promise.all(Array.from({ length: atOnce }, () => call(session))))
        told.add(each);
    }
    session.destroy();
    return [...told];
  }

  test.for(rows)("over gRPC: $name", async ({ reqIds }) => {
    const message = framed(
      toBinary(BatchGetStatusRequestSchema, create(BatchGetStatusRequestSchema, { reqIds })),
    );
    for (const method of ["WatchStatus", "BatchGetStatus"]) {
      const path = `/gomemory.status.v1.StatusService/${method}`;
      const codes = await repeated(async (session) => {
        const stream = session.request({ ":path": path, ...grpc });
        let status: unknown;
        const read = (headers: Record<string, unknown>) => {
          status = headers["grpc-status"] ?? status;
        };
        stream.on("response", read).on("trailers", read).resume().end(message);
        await once(stream, "close");
        return status;
      });
      // INVALID_ARGUMENT.
      expect(codes, method).toEqual(["3"]);
    }
  });

  test.for(rows)("over REST: $name", async ({ reqIds }) => {
    const headers = { ":method": "POST", ":path": "/get_status:batch", "content-type": "application/json" };
    const body = JSON.stringify({ reqIds });
    const statuses = await repeated(async (session) => {
      const stream = session.request(headers).on("error", () => {});
      stream.end(body);
      const [answer] = await once(stream.resume(), "response");
      await once(stream, "close");
      return answer[":status"];
    });
    // With its quotes and commas, it may be larger than MAX_MESSAGE_SIZE.
    expect(statuses).toEqual([Buffer.byteLength(body) > 64 * 2 ** 10 ? 413 : 400]);
  });
});
