import type { OutgoingHttpHeaders } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { GetStatusRequestSchema, StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { Health } from "../../src/gen/health/v1/health_pb.ts";
import { frameMessage, type GrpcCall } from "./grpc-exchange.ts";

export const statusPath = `/${StatusService.typeName}/GetStatus`;
const healthPath = `/${Health.typeName}/Check`;

const unknownId = "00000000-0000-4000-8000-0000000000ff";

export function encodeRequest(reqId: string): Uint8Array {
  return toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId }));
}

/** Usual values most of the time, and unusual ones in one case of seven. */
function mostly<T>(usual: fc.Arbitrary<T>, unusual: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 6, arbitrary: usual }, { weight: 1, arbitrary: unusual });
}

/**
 * Randomized gRPC calls, well-formed and malformed, some of which the client cancels.
 *
 * @param reqIds ids that the calls have beside malformed and unknown ones, the first one of a job.
 * @param paths of RPCs whose request has a text as its first field.
 */
export function grpcCalls(
  reqIds: readonly [string, ...string[]],
  paths: readonly [string, ...string[]] = [statusPath, healthPath],
): fc.Arbitrary<GrpcCall> {
  return fc.record({
    headers: headersOf(paths),
    chunks: bodyOf(reqIds),
    cancelAt: mostly<number | undefined>(fc.constant(undefined), fc.nat(3)),
  });
}

function bodyOf(reqIds: readonly [string, ...string[]]): fc.Arbitrary<Buffer[]> {
  const message: fc.Arbitrary<Uint8Array> = mostly(
    fc.constantFrom(...reqIds, "", "nope", "ü/🧠", unknownId).map(encodeRequest),
    fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.constantFrom(20_000, 70_000, 4_200_000).map((length) => withUnknownField(reqIds[0], length)),
    ),
  );
  const oneFrame = fc
    .record({
      message,
      flags: mostly(fc.constant(0), fc.constantFrom(1, 2, 128, 255)),
      extraLength: mostly(fc.constant(0), fc.constantFrom(-1, 1, 1000, 2 ** 31)),
    })
    .map(({ message, flags, extraLength }) =>
      frameMessage(message, { flags, length: Math.max(0, message.length + extraLength) }),
    );
  return fc
    .record({
      frames: mostly(
        fc.array(oneFrame, { minLength: 1, maxLength: 1 }),
        fc.array(oneFrame, { maxLength: 3 }),
      ),
      trailing: mostly(fc.constant(new Uint8Array()), fc.uint8Array({ maxLength: 6 })),
      cuts: mostly(fc.constant<number[]>([]), fc.array(fc.nat(80), { maxLength: 3 })),
    })
    .map(({ frames, trailing, cuts }) => cut(Buffer.concat([...frames, trailing]), cuts));
}

/** A request with an unknown field: it spans several HTTP/2 frames, or exceeds the limit on messages. */
function withUnknownField(reqId: string, length: number): Buffer {
  // Field 15, length-delimited, with the length as a varint of four bytes.
  const prefix = Buffer.from([0x7a, 0, 0, 0, 0]);
  for (let i = 0, rest = length; i < 4; i++, rest = Math.floor(rest / 128)) {
    prefix[i + 1] = (rest % 128) | (i < 3 ? 128 : 0);
  }
  return Buffer.concat([encodeRequest(reqId), prefix, Buffer.alloc(length, 1)]);
}

function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const inside = cuts.filter((at) => at < bytes.length).sort((a, b) => a - b);
  const edges = [0, ...inside, bytes.length];
  return edges
    .slice(1)
    .map((edge, index) => bytes.subarray(edges[index], edge))
    .filter((chunk) => chunk.length > 0);
}

const headersOf = (paths: readonly [string, ...string[]]): fc.Arbitrary<OutgoingHttpHeaders> =>
  fc
    .record({
      ":method": mostly(fc.constant("POST"), fc.constantFrom("GET", "PUT", "HEAD")),
      ":path": mostly(
        fc.constantFrom(...paths),
        fc.constantFrom("/", `${paths[0]}?x=1`, `/${StatusService.typeName}/Nope`, `${paths[0]}/`),
      ),
      "content-type": mostly<string | undefined>(
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
      te: mostly<string | undefined>(fc.constant("trailers"), fc.constant(undefined)),
      "grpc-timeout": mostly<string | undefined>(
        fc.constantFrom(undefined, "10S", "99999999H"),
        fc.constantFrom("0S", "0n", "10", "-1S", "1", "S", "123456789S", "1 S", ""),
      ),
      "grpc-encoding": mostly<string | undefined>(
        fc.constant(undefined),
        fc.constantFrom("identity", "gzip", "br", "snappy", ""),
      ),
      "grpc-accept-encoding": fc.constantFrom(
        undefined,
        "identity",
        "gzip",
        "identity,deflate,gzip",
        "snappy",
      ),
      "x-echo": fc.constantFrom(undefined, "hello", "a, b", "%20"),
      "x-request-id": fc.constant("same-on-both-sides"),
      "user-agent": fc.constantFrom(undefined, "grpc-go/1.76.0"),
    })
    .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)));
