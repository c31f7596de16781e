import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { gunzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { UnaryEndpoint } from "../../src/endpoints/endpoint.ts";
import { getStatus } from "../../src/endpoints/get-status.ts";
import { GetStatusRequestSchema, StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import {
  Health,
  type HealthCheckRequestSchema,
  type HealthCheckResponseSchema,
} from "../../src/gen/health/v1/health_pb.ts";
import { createFastPath } from "../../src/protocols/grpc/unary-fast-path.ts";
import type { HttpHandler } from "../../src/protocols/http.ts";
import { type Listener, listen } from "../../src/server/listener.ts";
import { type Call, callerGone } from "../../src/status/call.ts";
import { StatusError } from "../../src/status/errors.ts";
import type { JobStatus } from "../../src/status/status.ts";
import {
  cancelledCall,
  errorCode,
  flag,
  frame as frameOf,
  frameType,
  preface,
  restCall,
} from "../support/http2-frames.ts";
import { openPeer } from "../support/peer.ts";
import { openLife, serveEndpoints } from "../support/serve.ts";

/**
 * Differences from Connect's adapter that the specification allows, and no others. gRPC over HTTP/2
 * (PROTOCOL-HTTP2.md):
 * - "Response-Headers", Message-Encoding, and compression.md, "Specifying Disabled Compression": a server may choose
 *   not to compress whatever its caller accepts. The fast path never does; Connect does from 1 KiB on.
 *
 * And one that the contract wants: `RetryInfo` names another delay each time.
 */
const allowedDifferences = ["grpc-encoding"];

/** Ids, and what is known of them. Some stand for a way to fail. */
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

const endpoints = [getStatus({ find }), check];

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

interface Case {
  readonly headers: OutgoingHttpHeaders;
  /** Each is written by itself, and so becomes a DATA frame of its own. */
  readonly chunks: readonly Buffer[];
  /** The caller resets the stream before the chunk of this index. */
  readonly cancelAt?: number | undefined;
}

/** On a connection of its own: Node ends one on which too much goes wrong. */
async function send(side: Side, { headers, chunks, cancelAt }: Case): Promise<unknown> {
  const session = connect(`http://127.0.0.1:${listeners[side].address.port}`);
  session.on("error", () => {});
  const stream = session.request(headers, { endStream: chunks.length === 0 && cancelAt === undefined });
  const answer = receive(stream);
  // An answer may come before the request is complete, and then nobody reads the rest.
  const answered = new Promise<boolean>((resolve) =>
    stream.once("close", () => resolve(false)).once("end", () => resolve(false)),
  );
  for (const [index, chunk] of chunks.entries()) {
    if (index === cancelAt) stream.close(constants.NGHTTP2_CANCEL);
    if (stream.destroyed || stream.closed) break;
    const written = new Promise<boolean>((resolve) => stream.write(chunk, () => resolve(true)));
    if (!(await Promise.race([written, answered]))) stream.close();
  }
  if (cancelAt !== undefined && !stream.closed) stream.close(constants.NGHTTP2_CANCEL);
  stream.end();
  const received = await answer;
  session.destroy();
  return cancelAt === undefined ? received : "cancelled";
}

async function receive(stream: ClientHttp2Stream): Promise<unknown> {
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  const body: Buffer[] = [];
  stream.on("response", (received) => {
    headers = received;
  });
  stream.on("trailers", (received) => {
    trailers = received;
  });
  stream.on("data", (chunk: Buffer) => body.push(chunk));
  stream.on("error", () => {});
  await once(stream, "close");
  return {
    headers: withoutAllowed(headers),
    trailers: withoutAllowed(trailers),
    messages: messagesOf(Buffer.concat(body), headers),
    resetCode: stream.rstCode,
  };
}

/** RFC 9110, section 5.6.7. */
const imfDate = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;

function withoutAllowed(headers: IncomingHttpHeaders): Record<string, unknown> {
  const { date, ...others } = headers;
  const compared = Object.entries(others).filter(([name]) => !allowedDifferences.includes(name));
  const details = "grpc-status-details-bin";
  return {
    ...Object.fromEntries(compared),
    // Both have one (RFC 9110, section 6.6.1), and not always of the same second.
    ...(date !== undefined && { date: imfDate.test(date) }),
    ...(details in headers && { [details]: detailsOf(headers) }),
  };
}

/** The details of an error, of `RetryInfo` no more than that it is there. */
function detailsOf(headers: IncomingHttpHeaders): unknown {
  const pairs = Object.entries(headers).filter(([name]) => name.startsWith("grpc-")) as [string, string][];
  const details = findTrailerError(new Headers(pairs))?.details ?? [];
  return details.map((detail) =>
    "type" in detail && detail.type === RetryInfoSchema.typeName ? detail.type : detail,
  );
}

/** The bytes, save that a compressed message of plain gRPC is shown as what it says, and that `RetryInfo` is masked. */
function messagesOf(body: Buffer, headers: IncomingHttpHeaders): string {
  const type = headers["content-type"];
  if (type === "application/grpc+proto" && headers["grpc-encoding"] === "gzip" && body[0] === 1) {
    return frame(gunzipSync(body.subarray(5))).toString("base64");
  }
  // gRPC-Web and Connect write errors into the body, and only Connect's adapter speaks them.
  const text = body.toString("latin1");
  if (type?.startsWith("application/grpc-web") && text.includes("grpc-status-details-bin")) {
    return text.slice(5).replace(/(?<=grpc-status-details-bin: )\S+/, "masked");
  }
  if (type === "application/json") {
    return text.replace(/(?<="google.rpc.RetryInfo",)[^}]*/, "masked");
  }
  return body.toString("base64");
}

function frame(message: Uint8Array, { flags = 0, length = message.length } = {}): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flags;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

const request = (reqId: string) =>
  toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId }));
const statusPath = `/${StatusService.typeName}/GetStatus`;
const healthPath = `/${Health.typeName}/Check`;

/** Mostly what is usual, now and then anything else. */
const mostly = <T>(usual: fc.Arbitrary<T>, unusual: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 6, arbitrary: usual }, { weight: 1, arbitrary: unusual });

const answeredIds = [
  ids.pending,
  ids.failed,
  ids.missing,
  ids.unavailable,
  ids.unforeseen,
  ids.pending.toUpperCase(),
];

const message = mostly(
  fc.constantFrom(...answeredIds, "", "nope", "ü/🧠", randomUUID()).map(request),
  fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    // An unknown field, long enough for several frames of HTTP/2, and longer than any caller may send.
    fc.constantFrom<number[]>(20_000, 70_000, 4_200_000).map((length) => {
      const unknownField = Buffer.alloc(length, 1);
      const prefix = Buffer.from([0x7a, 0, 0, 0, 0]);
      for (let i = 0, rest = length; i < 4; i++, rest = Math.floor(rest / 128))
        prefix[i + 1] = (rest % 128) | (i < 3 ? 128 : 0);
      return Buffer.concat([request(ids.pending), prefix, unknownField]);
    }),
  ),
);

const oneFrame = fc
  .record({
    message,
    flags: mostly(fc.constant(0), fc.constantFrom(1, 2, 128, 255)),
    extraLength: mostly(fc.constant(0), fc.constantFrom(-1, 1, 1000, 2 ** 31)),
  })
  .map(({ message, flags, extraLength }) =>
    frame(message, { flags, length: Math.max(0, message.length + extraLength) }),
  );

const body = fc
  .record({
    frames: mostly(fc.array(oneFrame, { minLength: 1, maxLength: 1 }), fc.array(oneFrame, { maxLength: 3 })),
    trailing: mostly(fc.constant(new Uint8Array()), fc.uint8Array({ maxLength: 6 })),
    cuts: mostly(fc.constant<number[]>([]), fc.array(fc.nat(80), { maxLength: 3 }) as fc.Arbitrary<number[]>),
  })
  .map(({ frames, trailing, cuts }) => {
    const bytes = Buffer.concat([...frames, trailing]);
    const edges = [0, ...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
    return edges.slice(1).map((edge, index) => bytes.subarray(edges[index], edge));
  })
  .map((chunks) => chunks.filter((chunk) => chunk.length > 0));

const headers: fc.Arbitrary<OutgoingHttpHeaders> = fc
  .record({
    ":method": mostly(fc.constant("POST"), fc.constantFrom("GET", "PUT", "HEAD")),
    ":path": mostly(
      fc.constantFrom(statusPath, healthPath),
      fc.constantFrom("/", `${statusPath}?x=1`, `/${StatusService.typeName}/Nope`, `${statusPath}/`),
    ),
    "content-type": mostly(
      fc.constantFrom("application/grpc", "application/grpc+proto"),
      fc.constantFrom(
        "application/grpc+json",
        "APPLICATION/GRPC",
        "application/grpc;x=1",
        "application/grpc-web",
        "application/grpc+thrift",
        "application/proto",
        "text/plain",
        undefined,
      ),
    ),
    te: mostly(fc.constant("trailers"), fc.constant(undefined)),
    "grpc-timeout": mostly(
      fc.constantFrom(undefined, "10S", "99999999H"),
      fc.constantFrom("0S", "0n", "10", "-1S", "1", "S", "123456789S", "1 S", ""),
    ),
    "grpc-encoding": mostly(fc.constant(undefined), fc.constantFrom("identity", "gzip", "br", "snappy", "")),
    "grpc-accept-encoding": fc.constantFrom(undefined, "identity", "gzip", "identity,deflate,gzip", "snappy"),
    "x-echo": fc.constantFrom(undefined, "hello", "a, b", "%20"),
    "x-request-id": fc.constant("same-on-both-sides"),
    "user-agent": fc.constantFrom(undefined, "grpc-go/1.76.0"),
  })
  .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)));

/** How many calls are compared. */
const cases = 3_000;

test(`the fast path and Connect's adapter answer ${cases} calls alike, well-formed and malformed`, {
  timeout: 240_000,
}, async () => {
  let answered = 0;
  const anyCase = fc.record({ headers, chunks: body, cancelAt: mostly(fc.constant(undefined), fc.nat(3)) });
  await fc.assert(
    fc.asyncProperty(anyCase, async (one) => {
      const [fast, adapted] = await Promise.all([send("fast path", one), send("adapter", one)]);
      expect(fast).toEqual(adapted);
      if (fast !== "cancelled") answered++;
    }),
    { numRuns: cases },
  );
  expect(answered).toBeGreaterThan(cases / 2);
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
  const silent = session.request(headers).on("error", () => {});
  const asking = session.request(headers).on("error", () => {});
  asking.end(frame(request(ids.slow)));
  await expect.poll(() => arrived).toBe(before.arrived + 1);
  for (const stream of [silent, asking]) stream.close(constants.NGHTTP2_CANCEL);
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
  // In one piece, so that the stream is reset before anybody hears of it.
  const cancelled = [cancelledCall(1, errorCode.cancel), cancelledCall(3, errorCode.internal)];
  peer.send(preface);
  await peer.frame(({ type }) => type === frameType.settings);
  peer.send(Buffer.concat(cancelled));
  // Whatever the others had left behind has been done by then.
  peer.send(frameOf(frameType.headers, flag.endHeaders | flag.endStream, 5, restCall(ids.pending)));
  await peer.frame(({ type, stream }) => type === frameType.headers && stream === 5);
  expect(requested).toEqual([`/get_status/${ids.pending}`]);
});
