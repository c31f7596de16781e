import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import {
  BatchGetStatusRequestSchema,
  GetStatusRequestSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { knownId, unknownId } from "./fuzzed.ts";
import { code, codeFor, damage, idText } from "./messages.ts";
import { isUuid } from "./rest-answers.ts";

const id = fc.constantFrom(knownId, unknownId, knownId.toUpperCase());

/** Lists of ids: valid ones, with some that are malformed, too many, or none. */
export const idLists = fc.oneof(
  { weight: 4, arbitrary: fc.array(id, { minLength: 1, maxLength: 20 }) },
  { weight: 2, arbitrary: fc.array(fc.oneof(id, idText), { maxLength: 5 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(999, 1_000, 1_001).map((length) => Array<string>(length).fill(unknownId)),
  },
);

/** WatchStatusRequest and BatchGetStatusRequest in the binary format, which are alike; some of them damaged. */
export const idMessages = fc.oneof(
  fc.tuple(idLists, damage).map(([reqIds, change]) => change(encode(reqIds))),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
);

function encode(reqIds: readonly string[]): Buffer {
  const request = create(BatchGetStatusRequestSchema, { reqIds: reqIds.map((each) => each.toWellFormed()) });
  return Buffer.from(toBinary(BatchGetStatusRequestSchema, request));
}

/** @returns the ids of a message. Undefined: it cannot be decoded. */
export function idsOf(message: Buffer): readonly string[] | undefined {
  try {
    return fromBinary(BatchGetStatusRequestSchema, message).reqIds;
  } catch {
    return undefined;
  }
}

export function codeForIds(reqIds: readonly string[] | undefined): number {
  if (reqIds === undefined) return code.internal;
  const isValid = reqIds.length >= 1 && reqIds.length <= 1_000 && reqIds.every(isUuid);
  return isValid ? code.ok : code.invalidArgument;
}

/** GetStatusRequest with a wait. No one waits long: its ids are final, or unknown. */
export const waitMessages = fc
  .tuple(
    fc.constantFrom(knownId, unknownId, "nope"),
    fc.oneof(
      fc.constantFrom(0n, 1n, -1n, 315_576_000_000n, 315_576_000_001n),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    ),
    fc.oneof(fc.constantFrom(0, 1, -1, 999_999_999, 1_000_000_000), fc.integer()),
    damage,
  )
  .map(([reqId, seconds, nanos, change]) => {
    const request = create(GetStatusRequestSchema, { reqId, wait: { seconds, nanos } });
    return change(Buffer.from(toBinary(GetStatusRequestSchema, request)));
  });

/** @param message of GetStatusRequest. */
export function codeForWait(message: Buffer): number {
  try {
    const { reqId, wait } = fromBinary(GetStatusRequestSchema, message);
    const { seconds = 0n, nanos = 0 } = wait ?? {};
    const isValid = seconds >= 0n && seconds <= 315_576_000_000n && nanos >= 0 && nanos <= 999_999_999;
    return isValid ? codeFor(reqId) : code.invalidArgument;
  } catch {
    return code.internal;
  }
}
