import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { fromBinary, fromJsonString, toJson } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  BatchGetStatusRequestSchema,
  BatchGetStatusResponseSchema,
  WatchStatusResponseSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { framed as frame } from "../support/calls.ts";
import { type Fuzzed, knownId, startFuzzed } from "./fuzzed.ts";
import { type Http1Response, pipeline } from "./http1.ts";
import { codeForIds, codeForWait, idLists, idMessages, idsOf, waitMessages } from "./many-ids.ts";
import { code, codesForFramed, flags, framedOf } from "./messages.ts";

const service = "/gomemory.status.v1.StatusService";
const methods = ["WatchStatus", "BatchGetStatus"] as const;
type Method = (typeof methods)[number];

let fuzzed: Fuzzed;

beforeAll(async () => {
  fuzzed = await startFuzzed();
});

afterAll(() => fuzzed[Symbol.asyncDispose]());

/** @returns the code, and the bytes of the messages. */
async function callGrpc(
  session: ClientHttp2Session,
  method: string,
  body: Buffer,
): Promise<[number, Buffer]> {
  const stream = session.request({
    ":method": "POST",
    ":path": `${service}/${method}`,
    "content-type": "application/grpc",
    te: "trailers",
  });
  let status: unknown;
  const read = (headers: Record<string, unknown>) => {
    status = headers["grpc-status"] ?? status;
  };
  const chunks: Buffer[] = [];
  stream.on("response", read).on("trailers", read);
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  // After its answer, the server may reset a stream whose rest it need not read.
  stream.on("error", () => {});
  stream.end(body);
  await once(stream, "close");
  return [Number(status), Buffer.concat(chunks)];
}

/** @returns the messages of frames that are not trailers. */
function messagesOf(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    if (bytes[at] === 0) messages.push(bytes.subarray(at + 5, end));
    at = end;
  }
  return messages;
}

/** What is said of each id: its outcome, in canonical JSON. */
function outcomeOf(reqId: string) {
  const isUnknown = reqId !== knownId;
  const status = JSON.parse(fuzzed.json);
  return {
    WatchStatus: isUnknown ? { gone: { reqId } } : { status: { reqId, status } },
    BatchGetStatus: isUnknown ? { reqId, error: { reason: "STATUS_NOT_FOUND" } } : { reqId, status },
  };
}

/** A watch says each id once, in any order; a batch each as often as it was asked for, in that order. */
function checkMessages(method: Method, reqIds: readonly string[], messages: readonly Buffer[]): void {
  const asked = reqIds.map((reqId) => reqId.toLowerCase());
  if (method === "BatchGetStatus") {
    const answers = messages.map((each) =>
      toJson(BatchGetStatusResponseSchema, fromBinary(BatchGetStatusResponseSchema, each)),
    );
    expect(answers).toEqual([{ items: asked.map((reqId) => outcomeOf(reqId).BatchGetStatus) }]);
    return;
  }
  const events = messages.map((each) =>
    toJson(WatchStatusResponseSchema, fromBinary(WatchStatusResponseSchema, each)),
  );
  const wanted = [...new Set(asked)].map((reqId) => outcomeOf(reqId).WatchStatus);
  expect(events.toSorted(byJson)).toEqual(wanted.toSorted(byJson));
}

function byJson(one: unknown, other: unknown): number {
  return JSON.stringify(one) < JSON.stringify(other) ? -1 : 1;
}

test.for(methods)("gRPC, %s: any bytes", async (method, context) => {
  const session = connectHttp2(fuzzed.serving.url);
  const bodies = framedOf(idMessages);
  await fuzzed.withstands(context, bodies, [50, 100], async (batch) => {
    const answers = await Promise.all(batch.map((body) => callGrpc(session, method, body)));
    for (const [index, body] of batch.entries()) {
      const [told, bytes] = answers[index] as [number, Buffer];
      const wanted = codesForFramed(body, flags.compressed, (message) => codeForIds(idsOf(message)));
      expect(wanted, body.toString("hex")).toContain(told);
      if (told === code.ok) checkMessages(method, idsOf(body.subarray(5)) ?? [], messagesOf(bytes));
    }
  });
  session.close();
});

test("gRPC, GetStatus: any wait", async (context) => {
  const session = connectHttp2(fuzzed.serving.url);
  await fuzzed.withstands(context, waitMessages, [50, 100], async (batch) => {
    const answers = await Promise.all(batch.map((message) => callGrpc(session, "GetStatus", frame(message))));
    for (const [index, message] of batch.entries()) {
      expect(answers[index]?.[0], message.toString("hex")).toBe(codeForWait(message));
    }
  });
  session.close();
});

async function postAll(method: string, type: string, bodies: readonly Buffer[]): Promise<Http1Response[]> {
  const responses = await pipeline(
    fuzzed.serving.port,
    bodies.map((body) => ({
      method: "POST",
      target: `${service}/${method}`,
      headers: [["Content-Type", type]],
      body,
    })),
  );
  expect(responses.length).toBe(bodies.length);
  return responses;
}

test.for(methods)("gRPC-Web, %s: any bytes", async (method, context) => {
  await fuzzed.withstands(context, framedOf(idMessages), [50, 50], async (batch) => {
    const responses = await postAll(method, "application/grpc-web+proto", batch);
    for (const [index, body] of batch.entries()) {
      const response = responses[index] as Http1Response;
      expect(response.status).toBe(200);
      const inBody = /grpc-status: ?(\d+)/i.exec(response.body.toString("latin1"))?.[1];
      const told = Number(response.headers["grpc-status"] ?? inBody);
      const unwanted = flags.compressed | flags.trailers;
      const wanted = codesForFramed(body, unwanted, (message) => codeForIds(idsOf(message)));
      expect(wanted, body.toString("hex")).toContain(told);
      if (told === code.ok) checkMessages(method, idsOf(body.subarray(5)) ?? [], messagesOf(response.body));
    }
  });
});

test("Connect, WatchStatus: any bytes in the frames of a stream", async (context) => {
  await fuzzed.withstands(context, framedOf(idMessages), [50, 50], async (batch) => {
    const responses = await postAll("WatchStatus", "application/connect+proto", batch);
    for (const [index, body] of batch.entries()) {
      const { status, body: answer } = responses[index] as Http1Response;
      expect(status, body.toString("hex")).toBe(200);
      // The last frame has flag 2 and the error, if there is one.
      const end = JSON.parse(/\{(?:"error"|\}).*$/.exec(answer.toString("latin1"))?.[0] ?? "null");
      expect(end, answer.toString("latin1")).not.toBe(null);
      if (end.error === undefined)
        checkMessages("WatchStatus", idsOf(body.subarray(5)) ?? [], messagesOf(answer));
      else
        expect(["invalid_argument", "internal", "resource_exhausted", "unimplemented"]).toContain(
          end.error.code,
        );
    }
  });
});

const json = fc.oneof(
  idLists.map((reqIds) => JSON.stringify({ reqIds })),
  fc.json().map((value) => `{"reqIds":${value}}`),
  fc.json(),
  fc.string({ maxLength: 60 }),
);

test("Connect, BatchGetStatus, JSON: any text", async (context) => {
  await fuzzed.withstands(context, json, [50, 100], async (batch) => {
    const responses = await postAll(
      "BatchGetStatus",
      "application/json",
      batch.map((text) => Buffer.from(text)),
    );
    for (const [index, text] of batch.entries()) {
      const { status, body } = responses[index] as Http1Response;
      const reqIds = idsOfJson(text);
      const isOk = codeForIds(reqIds) === code.ok;
      expect(status, text).toBe(isOk ? 200 : 400);
      if (!isOk) expect(JSON.parse(body.toString()).code, text).toBe("invalid_argument");
      else {
        const items = reqIds?.map((reqId) => outcomeOf(reqId.toLowerCase()).BatchGetStatus);
        expect(JSON.parse(body.toString()), text).toEqual({ items });
      }
    }
  });
});

function idsOfJson(text: string): readonly string[] | undefined {
  try {
    return fromJsonString(BatchGetStatusRequestSchema, Buffer.from(text).toString(), {
      ignoreUnknownFields: true,
    }).reqIds;
  } catch {
    return undefined;
  }
}
