import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { create, fromBinary, fromJsonString, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { GetStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { type Fuzzed, startFuzzed } from "./fuzzed.ts";
import { type Http1Request, type Http1Response, pipeline } from "./http1.ts";

const method = "/gomemory.status.v1.StatusService/GetStatus";
let fuzzed: Fuzzed;

beforeAll(async () => {
  fuzzed = await startFuzzed();
});

afterAll(() => fuzzed[Symbol.asyncDispose]());

/** gRPC's codes by their numbers. Connect's protocol has names for them, and an HTTP status for each. */
const code = {
  ok: 0,
  unknown: 2,
  invalidArgument: 3,
  notFound: 5,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
};

const canonicalUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function codeFor(reqId: string): number {
  if (!canonicalUuid.test(reqId)) return code.invalidArgument;
  return reqId.toLowerCase() === fuzzed.known ? code.ok : code.notFound;
}

/** Ids by name, since their values are known once the service runs; and texts that are no ids. */
const idText = fc.oneof(
  fc.constantFrom<"known" | "unknown">("known", "unknown").map((id) => () => fuzzed[id]),
  fc.string({ unit: "binary", maxLength: 40 }).map((text) => () => text),
);

/** A change to a message, which most of the time makes it invalid. */
const damage = fc.oneof(
  { weight: 3, arbitrary: fc.constant((bytes: Buffer) => bytes) },
  fc.nat(60).map((at) => (bytes: Buffer) => bytes.subarray(0, at)),
  fc.uint8Array({ maxLength: 20 }).map((more) => (bytes: Buffer) => Buffer.concat([bytes, more])),
  fc.tuple(fc.nat(60), fc.nat(255)).map(([at, byte]) => (bytes: Buffer) => {
    const changed = Buffer.from(bytes);
    if (at < changed.length) changed[at] = byte;
    return changed;
  }),
);

const protobuf = fc.oneof(
  fc.tuple(idText, damage).map(
    ([reqId, change]) =>
      () =>
        change(
          Buffer.from(
            toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId: wellFormed(reqId()) })),
          ),
        ),
  ),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => () => Buffer.from(bytes)),
);

/** Lone surrogates have no UTF-8. */
function wellFormed(text: string): string {
  return text.toWellFormed();
}

/** Length-prefixed messages of gRPC and gRPC-Web, some with a wrong length. */
const framed = fc
  .tuple(
    protobuf,
    damage,
    fc.constantFrom(0, 0, 0, 0, 0, 1, 2, 128, 255),
    fc.constantFrom(0, 0, 0, 0, 0, 1, -1, 2 ** 30),
  )
  .map(([message, change, flags, lengthError]) => () => {
    const bytes = message();
    const prefix = Buffer.from([flags, 0, 0, 0, 0]);
    prefix.writeUInt32BE(Math.max(0, bytes.length + lengthError), 1);
    return change(Buffer.concat([prefix, bytes]));
  });

/**
 * The flags in the first byte of a frame: it is compressed, and over gRPC-Web also that it holds trailers (gRPC over
 * HTTP/2, "Length-Prefixed-Message"; gRPC-Web, "Message framing"). The other bits have no meaning, and servers ignore them.
 */
const flags = { compressed: 1, trailers: 128 };

const malformedFraming = [code.invalidArgument, code.unimplemented, code.internal, code.resourceExhausted];

/** @returns the codes that may answer: one for a single message, and those of malformed framing for anything else. */
function codesForFramed(body: Buffer, unwanted: number): readonly number[] {
  const [first = 0] = body;
  if (body.length < 5 || (first & unwanted) !== 0) return malformedFraming;
  const end = 5 + body.readUInt32BE(1);
  if (body.length === end) return [codeForBinary(body.subarray(5))];
  // Connect's adapter ignores the prefix of a second message whose body is missing.
  if (body.length === end + 5) return [...malformedFraming, codeForBinary(body.subarray(5, end))];
  return malformedFraming;
}

function codeForBinary(message: Buffer): number {
  try {
    return codeFor(fromBinary(GetStatusRequestSchema, message).reqId);
  } catch {
    // gRPC's list of status codes: "Error parsing request proto".
    return code.internal;
  }
}

async function callGrpc(session: ClientHttp2Session, body: Buffer): Promise<number> {
  const stream = session.request({
    ":method": "POST",
    ":path": method,
    "content-type": "application/grpc",
    te: "trailers",
  });
  let status: unknown;
  const read = (headers: Record<string, unknown>) => {
    status = headers["grpc-status"] ?? status;
  };
  stream.on("response", read).on("trailers", read);
  // After its answer, the server may reset a stream whose rest it need not read.
  stream.on("error", () => {});
  stream.end(body);
  stream.resume();
  await once(stream, "close");
  return Number(status);
}

test("gRPC: any bytes", async (context) => {
  const session = connectHttp2(fuzzed.serving.url);
  await fuzzed.withstands(context, framed, [100, 250], async (batch) => {
    const bodies = batch.map((make) => make());
    const codes = await Promise.all(bodies.map((body) => callGrpc(session, body)));
    bodies.forEach((body, index) => {
      const wanted = codesForFramed(body, flags.compressed);
      expect(wanted, body.toString("hex")).toContain(codes[index]);
    });
  });
  session.close();
});

const post = (type: string, body: Buffer): Http1Request => ({
  method: "POST",
  target: method,
  headers: [["Content-Type", type]],
  body,
});

/** Connect's protocol: the HTTP status of each code. */
const httpStatus = new Map([
  [code.ok, 200],
  [code.invalidArgument, 400],
  [code.notFound, 404],
  // Connect's adapter answers invalid_argument for a message that cannot be decoded.
  [code.internal, 400],
]);

async function checkPosts(
  type: string,
  bodies: readonly Buffer[],
  check: (response: Http1Response, body: Buffer) => void,
) {
  const responses = await pipeline(
    fuzzed.serving.port,
    bodies.map((body) => post(type, body)),
  );
  expect(responses.length).toBe(bodies.length);
  for (const [index, body] of bodies.entries()) check(responses[index] as Http1Response, body);
}

test("Connect, binary: any bytes", async (context) => {
  await fuzzed.withstands(context, protobuf, [100, 100], (batch) =>
    checkPosts(
      "application/proto",
      batch.map((make) => make()),
      ({ status }, body) => {
        expect(status, body.toString("hex")).toBe(httpStatus.get(codeForBinary(body)));
      },
    ),
  );
});

const json = fc.oneof(
  idText.map((reqId) => () => JSON.stringify({ reqId: reqId() })),
  idText.map((reqId) => () => JSON.stringify({ req_id: reqId() })),
  fc.json().map((text) => () => text),
  fc.tuple(idText, fc.json()).map(
    ([reqId, value]) =>
      () =>
        `{"reqId":${JSON.stringify(reqId())},"other":${value}}`,
  ),
  fc.string({ maxLength: 60 }).map((text) => () => text),
);

function codeForJson(text: string): number {
  try {
    // Connect's servers ignore fields that they do not know.
    return codeFor(fromJsonString(GetStatusRequestSchema, text, { ignoreUnknownFields: true }).reqId);
  } catch {
    return code.invalidArgument;
  }
}

test("Connect, JSON: any text", async (context) => {
  await fuzzed.withstands(context, json, [100, 150], (batch) =>
    checkPosts(
      "application/json",
      batch.map((make) => Buffer.from(make())),
      ({ status }, body) => {
        expect(status, body.toString()).toBe(httpStatus.get(codeForJson(body.toString())));
      },
    ),
  );
});

test("gRPC-Web: any bytes", async (context) => {
  await fuzzed.withstands(context, framed, [100, 100], (batch) =>
    checkPosts(
      "application/grpc-web+proto",
      batch.map((make) => make()),
      ({ status, headers, body: answer }, body) => {
        expect(status).toBe(200);
        // The status is in a frame at the end of the body, or in the headers of a response without a message.
        const inBody = /grpc-status: ?(\d+)/i.exec(answer.toString("latin1"))?.[1];
        const codes = codesForFramed(body, flags.compressed | flags.trailers);
        expect(codes, body.toString("hex")).toContain(Number(headers["grpc-status"] ?? inBody));
      },
    ),
  );
});

/** @returns the HTTP statuses that may answer a query, by Connect's protocol ("Unary-Get-Request"). */
function statusesForQuery(query: URLSearchParams): readonly number[] {
  const encoding = query.get("encoding");
  const isPlain = !query.has("base64") && !query.has("compression") && query.get("connect") === "v1";
  // A query with several mistakes may be answered with the status of any of them.
  if (!isPlain || !query.has("message")) return [400, 404, 415, 501];
  const message = query.get("message") ?? "";
  if (encoding === "json") return [codeForJson(message)].map((each) => httpStatus.get(each) as number);
  return encoding === "proto" ? [200, 400, 404] : [415];
}

test("Connect, GET: any query", async (context) => {
  const value = fc.oneof(
    fc.constantFrom("json", "proto", "1", "v1", "gzip", "identity"),
    fc.string().map((text) => encodeURIComponent(text.toWellFormed())),
    fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes).toString("base64url")),
  );
  const name = fc.constantFrom("message", "encoding", "base64", "connect", "compression", "message", "other");
  const query = fc.array(
    fc.tuple(name, value).map((pair) => pair.join("=")),
    { maxLength: 6 },
  );
  await fuzzed.withstands(context, query, [100, 50], async (batch) => {
    const targets = batch.map((pairs) => `${method}?${pairs.join("&")}`);
    const responses = await pipeline(
      fuzzed.serving.port,
      targets.map((target) => ({ method: "GET", target })),
    );
    expect(responses.length).toBe(targets.length);
    responses.forEach(({ status }, index) => {
      const query = new URL(targets[index] as string, fuzzed.serving.url).searchParams;
      expect(statusesForQuery(query), targets[index]).toContain(status);
    });
  });
});
