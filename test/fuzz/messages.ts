import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { GetStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { knownId, unknownId } from "./fuzzed.ts";

/** gRPC's codes by their numbers. Connect's protocol has names for them, and an HTTP status for each. */
export const code = {
  ok: 0,
  unknown: 2,
  invalidArgument: 3,
  notFound: 5,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
};

const canonicalUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function codeFor(reqId: string): number {
  if (!canonicalUuid.test(reqId)) return code.invalidArgument;
  return reqId.toLowerCase() === knownId ? code.ok : code.notFound;
}

/** Ids, and texts that are no ids. */
export const idText = fc.oneof(
  fc.constantFrom(knownId, unknownId),
  fc.string({ unit: "binary", maxLength: 40 }),
);

/** A change to a message, which most of the time makes it invalid. */
export const damage = fc.oneof(
  { weight: 3, arbitrary: fc.constant((bytes: Buffer) => bytes) },
  fc.nat(60).map((at) => (bytes: Buffer) => bytes.subarray(0, at)),
  fc.uint8Array({ maxLength: 20 }).map((more) => (bytes: Buffer) => Buffer.concat([bytes, more])),
  fc.tuple(fc.nat(60), fc.nat(255)).map(([at, byte]) => (bytes: Buffer) => {
    const changed = Buffer.from(bytes);
    if (at < changed.length) changed[at] = byte;
    return changed;
  }),
);

/** Messages in the binary format, some of them damaged. */
export const protobuf = fc.oneof(
  fc.tuple(idText, damage).map(([reqId, change]) => change(encodeRequest(reqId))),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
);

/** @param reqId lone surrogates, which have no UTF-8, are replaced. */
function encodeRequest(reqId: string): Buffer {
  const request = create(GetStatusRequestSchema, { reqId: reqId.toWellFormed() });
  return Buffer.from(toBinary(GetStatusRequestSchema, request));
}

/** Length-prefixed messages of gRPC and gRPC-Web, some with a wrong length. */
export function framedOf(messages: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const flags = fc.constantFrom(0, 0, 0, 0, 0, 1, 2, 128, 255);
  const lengthErrors = fc.constantFrom(0, 0, 0, 0, 0, 1, -1, 2 ** 30);
  return fc.tuple(messages, damage, flags, lengthErrors).map(([bytes, change, flags, lengthError]) => {
    const prefix = Buffer.from([flags, 0, 0, 0, 0]);
    prefix.writeUInt32BE(Math.max(0, bytes.length + lengthError), 1);
    return change(Buffer.concat([prefix, bytes]));
  });
}

export const framed = framedOf(protobuf);

/**
 * The flags in the first byte of a frame: it is compressed, and over gRPC-Web also that it holds trailers (gRPC over
 * HTTP/2, "Length-Prefixed-Message"; gRPC-Web, "Message framing"). The other bits have no meaning, and servers ignore them.
 */
export const flags = { compressed: 1, trailers: 128 };

const malformedFraming = [code.invalidArgument, code.unimplemented, code.internal, code.resourceExhausted];

/** @returns the codes that may answer: one for a single message, and those of malformed framing for anything else. */
export function codesForFramed(
  body: Buffer,
  unwanted: number,
  codeOf: (message: Buffer) => number = codeForBinary,
): readonly number[] {
  const [first = 0] = body;
  if (body.length < 5 || (first & unwanted) !== 0) return malformedFraming;
  const end = 5 + body.readUInt32BE(1);
  if (body.length === end) return [codeOf(body.subarray(5))];
  // Connect's adapter ignores the prefix of a second message whose body is missing.
  if (body.length === end + 5) return [...malformedFraming, codeOf(body.subarray(5, end))];
  return malformedFraming;
}

export function codeForBinary(message: Buffer): number {
  try {
    return codeFor(fromBinary(GetStatusRequestSchema, message).reqId);
  } catch {
    // gRPC's list of status codes: "Error parsing request proto".
    return code.internal;
  }
}
