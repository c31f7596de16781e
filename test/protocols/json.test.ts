import { create, fromJsonString, toJsonString } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { toResponse } from "../../src/endpoints/status-message.ts";
import {
  BatchGetStatusResponseSchema,
  GetStatusResponseSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { batchJson } from "../../src/protocols/rest/batch-json.ts";
import { statusJson } from "../../src/protocols/rest/status-json.ts";
import type { JobStatus } from "../../src/status/status.ts";

const message = (status: JobStatus) => create(GetStatusResponseSchema, toResponse(status));

const createdAt = fc
  .date({
    min: new Date("0001-01-01T00:00:00Z"),
    max: new Date("9999-12-31T23:59:59Z"),
    noInvalidDate: true,
  })
  .map((date) => new Date(Math.floor(date.getTime() / 1000) * 1000));

/** Any JavaScript string: lone surrogates, NUL, quotes, newlines, emoji. */
const error = fc.string({
  unit: fc.oneof(
    fc.constantFrom('"', "\\", "\n", "\0", "\u2028", "🧠", "\ud800", "\udc00"),
    fc.string({ unit: "binary", maxLength: 4 }),
  ),
});

const jobStatus: fc.Arbitrary<JobStatus> = fc.oneof(
  fc.record({ status: fc.constantFrom("pending", "processing", "success"), createdAt }),
  fc.record({ status: fc.constant("failure"), createdAt, error }),
);

/** What a PostgreSQL database can hold, and a protobuf string. */
const wellFormed = jobStatus.filter((status) => status.error?.isWellFormed() ?? true);

test("REST's JSON is the canonical protobuf JSON, byte for byte", () => {
  fc.assert(
    fc.property(jobStatus, (status) => {
      expect(statusJson(toResponse(status))).toBe(toJsonString(GetStatusResponseSchema, message(status)));
    }),
    { numRuns: 10_000 },
  );
});

test("what REST sends, protobuf reads back as the same message", () => {
  fc.assert(
    fc.property(wellFormed, (status) => {
      expect(fromJsonString(GetStatusResponseSchema, statusJson(toResponse(status)))).toEqual(
        message(status),
      );
    }),
    { numRuns: 1_000 },
  );
});

/** Any id and reason: what is not among those that are sent is written all the same. */
const item = fc.record({
  reqId: fc.oneof(
    fc.uuid(),
    error.filter((text) => text !== ""),
  ),
  outcome: fc.oneof(
    jobStatus.map((status) => ({ case: "status", value: toResponse(status) }) as const),
    fc
      .oneof(
        fc.constantFrom("STATUS_NOT_FOUND", "OVERLOADED"),
        error.filter((text) => text !== ""),
      )
      .map((reason) => ({ case: "error", value: { reason } }) as const),
  ),
  errorTruncated: fc.boolean(),
});

test("REST's JSON of a batch is the canonical protobuf JSON, byte for byte", () => {
  fc.assert(
    fc.property(fc.array(item, { maxLength: 20 }), (items) => {
      const batch = create(BatchGetStatusResponseSchema, { items });
      expect(batchJson({ items })).toBe(toJsonString(BatchGetStatusResponseSchema, batch));
    }),
    { numRuns: 2_000 },
  );
});

test.for([
  ["control characters", "\u0001"],
  ["emoji", "🧠"],
  ["lone surrogates", "\ud83e"],
  ["quotes", '"'],
])("REST's JSON of a full batch of long errors, of %s", ([, character = ""]) => {
  const status = { status: "failure", createdAt: new Date(0), error: character.repeat(512) } as const;
  const items = Array.from({ length: 1_000 }, (_, index) => ({
    reqId: String(index),
    outcome: { case: "status", value: toResponse(status) } as const,
    errorTruncated: true,
  }));
  const batch = create(BatchGetStatusResponseSchema, { items });
  expect(batchJson({ items })).toBe(toJsonString(BatchGetStatusResponseSchema, batch));
});
