import { connect, constants } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { UnaryEndpoint } from "../../src/endpoints/endpoint.ts";
import {
  Health,
  type HealthCheckRequestSchema,
  type HealthCheckResponseSchema,
} from "../../src/gen/health/v1/health_pb.ts";
import { createFastPath } from "../../src/protocols/grpc/fast-path.ts";
import type { HttpHandler } from "../../src/protocols/http.ts";
import { type Listener, listen } from "../../src/server/listener.ts";
import { type Call, callerGone } from "../../src/status/call.ts";
import { StatusError } from "../../src/status/errors.ts";
import type { JobStatus } from "../../src/status/status.ts";
import { getStatusOf } from "../support/get-status.ts";
import { encodeRequest, grpcCalls, statusPath } from "../support/grpc-calls.ts";
import { exchange, frameMessage } from "../support/grpc-exchange.ts";
import {
  cancelledCall,
  errorCode,
  flag,
  frame,
  frameType,
  preface,
  restCall,
} from "../support/http2-frames.ts";
import { openPeer } from "../support/peer.ts";
import { openLife, serveEndpoints } from "../support/serve.ts";

/** Ids by the outcome of a call for them. */
const ids = {
  pending: "00000000-0000-4000-8000-000000000001",
  failed: "00000000-0000-4000-8000-000000000002",
  missing: "00000000-0000-4000-8000-000000000003",
  unavailable: "00000000-0000-4000-8000-000000000004",
  unforeseen: "00000000-0000-4000-8000-000000000005",
  slow: "00000000-0000-4000-8000-000000000006",
};
const createdAt = new Date("2026-03-03T21:44:15Z");

/** How many calls to `slow` came, and why each of them ended. */
let arrived = 0;
const reasons: unknown[] = [];

async function find(reqId: string, call: Call): Promise<JobStatus | undefined> {
  if (call.deadline <= performance.now()) throw new StatusError("DEADLINE_EXCEEDED", "too late");
  switch (reqId) {
    case ids.pending:
      return { status: "pending", createdAt };
    case ids.failed:
      return { status: "failure", createdAt, error: `it "broke" 🧠\n${"x".repeat(2_000)}` };
    case ids.unavailable:
      throw new StatusError("DATASTORE_UNAVAILABLE", "try again 100% sure: ü/?#");
    case ids.unforeseen:
      throw new Error("password=hunter2");
    case ids.slow:
      arrived++;
      return await new Promise((_resolve, reject) => {
        call.attach({
          cancel(reason) {
            reasons.push(reason);
            reject(reason);
          },
        });
      });
    default:
      return undefined;
  }
}

/** Another service, which uses metadata both ways and partial messages. */
const check: UnaryEndpoint<typeof HealthCheckRequestSchema, typeof HealthCheckResponseSchema> = {
  method: Health.method.check,
  handle({ service }, _call, context) {
    if (context === undefined) throw new Error("there is no context");
    context.responseHeader.set(
      "x-method",
      `${context.service.typeName}/${context.method.name} ${context.protocolName}`,
    );
    context.responseHeader.set("x-echo", context.requestHeader.get("x-echo") ?? "none");
    context.responseTrailer.append("x-trailer", "one");
    context.responseTrailer.append("x-trailer", "two");
    context.responseTrailer.set("x-url", new URL(context.url).pathname + context.requestMethod);
    if (service === "fail")
      throw new ConnectError("as asked", Code.Aborted, { "x-why": "because", "x-why-bin": "AAEC" });
    return service === "partial" ? {} : { status: 1 };
  },
};

const endpoints = [getStatusOf(find), check];

const sides = { "fast path": true, adapter: false };
type Side = keyof typeof sides;
const listeners = {} as Record<Side, Listener>;

beforeAll(async () => {
  for (const side of Object.keys(sides) as Side[]) {
    listeners[side] = await serveEndpoints(endpoints, { withFastPath: sides[side], shutdownTimeout: 0 });
  }
});

afterAll(async () => {
  for (const side of Object.keys(sides) as Side[]) {
    await listeners[side][Symbol.asyncDispose]();
  }
});

const reqIds = [ids.pending, ids.failed, ids.missing, ids.unavailable, ids.unforeseen] as const;

/** The number of calls that are compared. `npm run soak -- fast-path` compares more, with other seeds. */
const cases = 500;
const seed = 3_000;

test(`the fast path and Connect's adapter answer ${cases} calls alike, well-formed and malformed`, {
  timeout: 60_000,
}, async () => {
  let answered = 0;
  await fc.assert(
    fc.asyncProperty(grpcCalls([...reqIds, ids.pending.toUpperCase(), "fail", "partial"]), async (call) => {
      const [fast, adapted] = await Promise.all([
        exchange(listeners["fast path"].address.port, call),
        exchange(listeners.adapter.address.port, call),
      ]);
      expect(fast).toEqual(adapted);
      if (fast !== "cancelled") answered++;
    }),
    { numRuns: cases, seed },
  );
  expect(answered).toBeGreaterThan(cases / 2);
});

describe("UnaryCall falls back by what Node does not document", () => {
  const headers = {
    ":method": "POST",
    ":path": statusPath,
    "content-type": "application/grpc",
    te: "trailers",
  };
  const message = frameMessage(encodeRequest(ids.pending));

  test("a stream that was paused, and whose bytes were put back, is read again from its start", async () => {
    const chunks = [message.subarray(0, 3), message.subarray(3, 20), message.subarray(20)];
    const answer = await exchange(listeners["fast path"].address.port, { headers, chunks });
    expect(answer).toMatchObject({ trailers: { "grpc-status": "0" } });
  });

  test("the end of a stream is emitted again for the listener that comes after it", async () => {
    const chunks = [Buffer.alloc(0)];
    const [fast, adapted] = await Promise.all([
      exchange(listeners["fast path"].address.port, { headers, chunks }),
      exchange(listeners.adapter.address.port, { headers, chunks }),
    ]);
    expect(fast).toEqual(adapted);
    expect(fast).toMatchObject({ headers: { ":status": 200, "grpc-status": expect.any(String) } });
  });
});

test.for([
  "fast path",
  "adapter",
] as const)("%s: a caller that resets its stream has its call cancelled", async (side) => {
  const session = connect(`http://127.0.0.1:${listeners[side].address.port}`);
  const headers = {
    ":method": "POST",
    ":path": statusPath,
    "content-type": "application/grpc",
    te: "trailers",
  };
  const before = { arrived, ended: reasons.length };
  const unfinished = session.request(headers).on("error", () => {});
  const asking = session.request(headers).on("error", () => {});
  asking.end(frameMessage(encodeRequest(ids.slow)));
  await expect.poll(() => arrived).toBe(before.arrived + 1);
  for (const stream of [unfinished, asking]) stream.close(constants.NGHTTP2_CANCEL);
  await expect.poll(() => reasons.slice(before.ended)).toEqual([callerGone]);
  session.destroy();
});

test("a stream that is reset before its message has come reaches no handler", async () => {
  const fastPath = createFastPath(endpoints, openLife());
  const requested: string[] = [];
  const handler: HttpHandler = (request, response) => {
    requested.push(request.url ?? "");
    response.end();
  };
  await using listener = await listen({ host: "127.0.0.1", port: 0, shutdownTimeout: 0, handler, fastPath });

  using peer = await openPeer(listener.address.port);
  // In one piece, so that the stream is reset before the server serves it.
  const cancelled = [cancelledCall(1, errorCode.cancel), cancelledCall(3, errorCode.internal)];
  peer.send(preface);
  await peer.frame(({ type }) => type === frameType.settings);
  peer.send(Buffer.concat(cancelled));
  // Whatever the others had left behind has been done by then.
  peer.send(frame(frameType.headers, flag.endHeaders | flag.endStream, 5, restCall(ids.pending)));
  await peer.frame(({ type, stream }) => type === frameType.headers && stream === 5);
  expect(requested).toEqual([`/get_status/${ids.pending}`]);
});
