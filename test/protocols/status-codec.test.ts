import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  GetStatusRequestSchema,
  GetStatusResponse_Status,
  GetStatusResponseSchema,
  WatchStatusResponseSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { getStatusCodec, watchStatusCodec } from "../../src/protocols/grpc/status-codec.ts";

const response = fc.record(
  {
    status: fc.constantFrom(...Object.values(GetStatusResponse_Status)),
    createdAt: fc.record({
      seconds: fc.oneof(
        fc.bigInt({ min: -(2n ** 35n), max: 2n ** 38n }),
        fc.constantFrom(0n, 127n, 128n, 1_772_574_255n),
      ),
      nanos: fc.constantFrom(0, 0, 0, 1),
    }),
    error: fc.string({ unit: "binary", maxLength: 300 }),
  },
  { requiredKeys: ["status"] },
);

test("a response is written as protobuf-es writes it, byte for byte, and in place", () => {
  let written = 0;
  fc.assert(
    fc.property(response, fc.nat(8), (init, offset) => {
      const bytes = getStatusCodec.encode(init, offset);
      if (bytes === undefined) return;
      written++;
      const reference = toBinary(GetStatusResponseSchema, create(GetStatusResponseSchema, init));
      expect(bytes.subarray(offset)).toEqual(Buffer.from(reference));
    }),
    { numRuns: 10_000 },
  );
  expect(written).toBeGreaterThan(1_000);
});

const id = fc.oneof(
  fc.uuid(),
  fc.uuid().map((uuid) => uuid.toUpperCase()),
  fc.string({ unit: "binary", maxLength: 40 }),
);
const requestBytes = fc.oneof(
  id.map((reqId) => toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId }))),
  fc.uint8Array({ maxLength: 40 }),
  fc.uint8Array({ minLength: 36, maxLength: 36 }).map((bytes) => Buffer.from([0x0a, 36, ...bytes])),
);

test("a request is read as protobuf-es reads it, or left to it", () => {
  let read = 0;
  fc.assert(
    fc.property(requestBytes, fc.nat(8), (bytes, offset) => {
      const message = getStatusCodec.decode(Buffer.concat([Buffer.alloc(offset), bytes]), offset);
      if (message === undefined) return;
      read++;
      expect(message).toEqual(fromBinary(GetStatusRequestSchema, bytes));
    }),
    { numRuns: 10_000 },
  );
  expect(read).toBeGreaterThan(1_000);
});

const usual = fc.record({
  reqId: fc.uuid(),
  status: fc.record({
    status: fc.constantFrom(1, 2, 3, 4),
    createdAt: fc.record({ seconds: fc.bigInt({ min: 0n, max: 2n ** 38n }), nanos: fc.constant(0) }),
  }),
});
const event = fc.oneof(
  fc.record({ case: fc.constant("status" as const), value: usual }),
  fc.record({
    case: fc.constant("status" as const),
    value: fc.record({ reqId: id, status: fc.oneof(response, fc.constant(undefined)) }, { requiredKeys: [] }),
  }),
  fc.record({ case: fc.constant("gone" as const), value: fc.record({ reqId: id }) }),
  fc.record({ case: fc.constant("heartbeat" as const), value: fc.constant({}) }),
);

test("an event is written as protobuf-es writes it, byte for byte, and in place, or left to it", () => {
  let written = 0;
  fc.assert(
    fc.property(event, fc.nat(8), (init, offset) => {
      const bytes = watchStatusCodec.encode({ event: init } as never, offset);
      if (bytes === undefined) return;
      written++;
      const reference = toBinary(
        WatchStatusResponseSchema,
        create(WatchStatusResponseSchema, { event: init } as never),
      );
      expect(bytes.subarray(offset)).toEqual(Buffer.from(reference));
    }),
    { numRuns: 10_000 },
  );
  expect(written).toBeGreaterThan(1_000);
});
