import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { fromJsonString } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { GetStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { type Fuzzed, startFuzzed } from "./fuzzed.ts";
import { type Http1Request, type Http1Response, pipeline } from "./http1.ts";
import { code, codeFor, codeForBinary, codesForFramed, flags, framed, idText, protobuf } from "./messages.ts";

const method = "/gomemory.status.v1.StatusService/GetStatus";
let fuzzed: Fuzzed;

beforeAll(async () => {
  fuzzed = await startFuzzed();
});

afterAll(() => fuzzed[Symbol.asyncDispose]());

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
    const codes = await Promise.all(batch.map((body) => callGrpc(session, body)));
    batch.forEach((body, index) => {
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
    checkPosts("application/proto", batch, ({ status }, body) => {
      expect(status, body.toString("hex")).toBe(httpStatus.get(codeForBinary(body)));
    }),
  );
});

const json = fc.oneof(
  idText.map((reqId) => JSON.stringify({ reqId })),
  idText.map((reqId) => JSON.stringify({ req_id: reqId })),
  fc.json(),
  fc.tuple(idText, fc.json()).map(([reqId, value]) => `{"reqId":${JSON.stringify(reqId)},"other":${value}}`),
  fc.string({ maxLength: 60 }),
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
      batch.map((text) => Buffer.from(text)),
      ({ status }, body) => {
        expect(status, body.toString()).toBe(httpStatus.get(codeForJson(body.toString())));
      },
    ),
  );
});

test("gRPC-Web: any bytes", async (context) => {
  await fuzzed.withstands(context, framed, [100, 100], (batch) =>
    checkPosts("application/grpc-web+proto", batch, ({ status, headers, body: answer }, body) => {
      expect(status).toBe(200);
      // The status is in a frame at the end of the body, or in the headers of a response without a message.
      const inBody = /grpc-status: ?(\d+)/i.exec(answer.toString("latin1"))?.[1];
      const codes = codesForFramed(body, flags.compressed | flags.trailers);
      expect(codes, body.toString("hex")).toContain(Number(headers["grpc-status"] ?? inBody));
    }),
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
