/**
 * The rows of the benchmark. Every column of row i is computed from i, by the same formulas in SQL and here, so that the
 * load generator knows the right answer to each of its calls.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  GetStatusResponse_Status,
  GetStatusResponseSchema,
} from "../src/gen/gomemory/status/v1/status_pb.ts";

/** Odd, so that each maps the numbers below 2^32 one to one, and large, so that neighbouring rows get distant ids. */
const multipliers = [2654435761, 2246822519, 3266489917, 668265263] as const;

const states = ["pending", "processing", "success", "failure"] as const;
const error = "Vector database timeout during embedding generation";

/** Rows i and i + variety differ only in their ids. A multiple of the number of states. */
export const variety = 3600;

/** Length of an id in canonical text form. */
export const idLength = 36;

const hexByte = Array.from({ length: 256 }, (_, byte) => Buffer.from(byte.toString(16).padStart(2, "0")));
const highDigit = Uint8Array.from(hexByte, (digits) => digits[0] as number);
const lowDigit = Uint8Array.from(hexByte, (digits) => digits[1] as number);
const dash = 0x2d;

/** Writes the id of row i as text into 36 bytes from `at` on. */
export function writeId(i: number, into: Buffer, at: number): void {
  let position = at;
  for (let word = 0; word < 4; word++) {
    const bits = Math.imul(i, multipliers[word] as number);
    for (let shift = 24; shift >= 0; shift -= 8) {
      // 8-4-4-4-12: a dash after four bytes, and then after every two until ten have been written.
      if ((shift === 24 && (word === 1 || word === 2)) || (shift === 8 && (word === 1 || word === 2))) {
        into[position++] = dash;
      }
      const byte = (bits >>> shift) & 0xff;
      into[position++] = highDigit[byte] as number;
      into[position++] = lowDigit[byte] as number;
    }
  }
}

export function idOf(i: number): string {
  const text = Buffer.alloc(idLength);
  writeId(i, text, 0);
  return text.toString("latin1");
}

/** The right answer for row i. @param base when row 0 was created, in Unix seconds. */
export function answerOf(i: number, base: number): { status: string; createdAt: string; error?: string } {
  const status = states[i % states.length] as (typeof states)[number];
  const createdAt = new Date((base - (i % variety)) * 1000).toISOString().replace(".000Z", "Z");
  return { status, createdAt, ...(status === "failure" && { error }) };
}

/** The canonical JSON of every distinct answer, by i modulo `variety`. */
export function jsonAnswers(base: number): Buffer[] {
  return Array.from({ length: variety }, (_, i) => Buffer.from(JSON.stringify(answerOf(i, base))));
}

/** The same answers as gRPC's length-prefixed messages. */
export function grpcAnswers(base: number): Buffer[] {
  return Array.from({ length: variety }, (_, i) => {
    const { status, createdAt, ...rest } = answerOf(i, base);
    const message = toBinary(
      GetStatusResponseSchema,
      create(GetStatusResponseSchema, {
        status: GetStatusResponse_Status[status as keyof typeof GetStatusResponse_Status],
        createdAt: timestampFromMs(Date.parse(createdAt)),
        ...rest,
      }),
    );
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    return Buffer.concat([prefix, message]);
  });
}

/** Fills an empty memory_job with rows 0 to `count` - 1, created within the hour before `base`. */
export function insertRows(count: number, base: number): string {
  const words = multipliers.map((multiplier) => `lpad(to_hex(i * ${multiplier} & 4294967295), 8, '0')`);
  const state = `(array['${states.join("', '")}'])[i % ${states.length} + 1]`;
  return `
    insert into memory_job (req_id, status, error, created_at)
    select (${words.join(" || ")})::uuid, ${state},
           case when ${state} = 'failure' then '${error}' end,
           to_timestamp(${base} - i % ${variety})
    from generate_series(0::bigint, ${count - 1}) as i`;
}
