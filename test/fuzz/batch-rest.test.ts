import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Fuzzed, knownId, startFuzzed, unknownId } from "./fuzzed.ts";
import { type Http1Request, type Http1Response, pipeline } from "./http1.ts";
import { badRequest, isUuid } from "./rest-answers.ts";

let fuzzed: Fuzzed;

beforeAll(async () => {
  fuzzed = await startFuzzed();
});

afterAll(() => fuzzed[Symbol.asyncDispose]());

const idList = fc.array(fc.constantFrom(knownId, unknownId, knownId.toUpperCase(), "nope", ""), {
  maxLength: 5,
});
const json = fc.oneof(
  idList.map((reqIds) => JSON.stringify({ reqIds })),
  idList.map((ids) => JSON.stringify({ req_ids: ids, other: 1 })),
  fc
    .array(fc.constantFrom(knownId, unknownId), { minLength: 1, maxLength: 5 })
    .map((reqIds) => JSON.stringify({ reqIds })),
  fc.constantFrom(
    "",
    "{}",
    "[]",
    "null",
    '{"reqIds":null}',
    '{"reqIds":[null]}',
    '{"reqIds":"x"}',
    '{"reqIds":[1]}',
    "{",
    "\ufeff{}",
  ),
  fc.json(),
  fc.string({ unit: "binary", maxLength: 60 }),
);
const mediaType = fc.oneof(
  { weight: 5, arbitrary: fc.constant("application/json") },
  fc.constantFrom(
    "application/json; charset=utf-8",
    "APPLICATION/JSON",
    "text/json",
    "application/grpc",
    "application/json+x",
    "",
  ),
);

test("REST: any body of a batch, and any media type", async (context) => {
  const input = fc.record({
    method: fc.constantFrom("POST", "POST", "POST", "PUT", "GET"),
    text: json,
    type: mediaType,
  });
  await fuzzed.withstands(context, input, [100, 100], async (batch) => {
    const requests = batch.map(
      ({ method, text, type }): Http1Request => ({
        method,
        target: "/get_status:batch",
        headers: type === "" ? [] : [["Content-Type", type]],
        body: Buffer.from(text),
      }),
    );
    const responses = await pipeline(fuzzed.serving.port, requests);
    expect(responses.length).toBe(requests.length);
    for (const [index, { method, text, type }] of batch.entries()) {
      const { status, headers, body } = responses[index] as Http1Response;
      const shown = `${JSON.stringify({ method, text, type })} -> ${status} ${headers["error-reason"]} ${body}`;
      if (method !== "POST") expect(status, shown).toBe(405);
      else if (!/^application\/json(;|$)/i.test(type)) expect(status, shown).toBe(415);
      else checkBatch(text, status, headers["error-reason"], body.toString(), shown);
    }
  });
});

/** @returns the ids that a body asks for. Undefined: it is not of the message. */
function idsOf(text: string): readonly string[] | undefined {
  try {
    const { reqIds, req_ids: others } = JSON.parse(new TextDecoder().decode(Buffer.from(text))) ?? 0;
    const ids = reqIds ?? others ?? [];
    return Array.isArray(ids) && ids.every((id) => typeof id === "string") ? ids : undefined;
  } catch {
    return undefined;
  }
}

function checkBatch(
  text: string,
  status: number,
  reason: string | undefined,
  body: string,
  shown: string,
): void {
  const ids = idsOf(text);
  if (status !== 200) {
    expect([status, body], shown).toEqual([400, badRequest]);
    if (reason === undefined) return;
    expect(reason, shown).toBe(ids?.length === 0 ? "NO_IDS" : "INVALID_REQ_ID");
    if (reason === "INVALID_REQ_ID") expect(ids?.every(isUuid), shown).toBe(false);
    return;
  }
  const item = (id: string) =>
    id === unknownId
      ? { reqId: id, error: { reason: "STATUS_NOT_FOUND" } }
      : { reqId: id, status: JSON.parse(fuzzed.json) };
  expect(JSON.parse(body), shown).toEqual({ items: ids?.map((id) => item(id.toLowerCase())) });
}
