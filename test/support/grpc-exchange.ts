import { once } from "node:events";
import {
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { gunzipSync } from "node:zlib";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";

/**
 * Headers that may differ between the gRPC fast path and Connect's adapter. A server may choose not to compress,
 * whatever its caller accepts (gRPC over HTTP/2, "Message-Encoding"; compression.md, "Specifying Disabled
 * Compression"): the fast path never compresses, and Connect's adapter does from 1 KiB on.
 */
const allowedDifferences = ["grpc-encoding"];

/** A call over HTTP/2, well-formed or not. */
export interface GrpcCall {
  readonly headers: OutgoingHttpHeaders;
  /** The body. Each chunk is written by itself, and so becomes a DATA frame of its own. */
  readonly chunks: readonly Buffer[];
  /** The index of the chunk before which the client resets the stream. */
  readonly cancelAt?: number | undefined;
}

/**
 * Makes a call on a connection of its own, since Node ends one with too many errors.
 *
 * @returns the part of the answer that must be the same with the fast path and with Connect's adapter; "cancelled"
 *   when the client has reset the stream.
 */
export async function exchange(port: number, { headers, chunks, cancelAt }: GrpcCall): Promise<unknown> {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  const stream = session.request(headers, { endStream: chunks.length === 0 && cancelAt === undefined });
  const answer = receive(stream);
  // A server that answers before the end of the request does not read the rest of it.
  const answered = new Promise<boolean>((resolve) =>
    stream.once("close", () => resolve(false)).once("end", () => resolve(false)),
  );
  for (const [index, chunk] of chunks.entries()) {
    if (index === cancelAt) stream.close(constants.NGHTTP2_CANCEL);
    if (stream.destroyed || stream.closed) break;
    const written = new Promise<boolean>((resolve) => stream.write(chunk, () => resolve(true)));
    if (!(await Promise.race([written, answered]))) stream.close();
  }
  if (cancelAt !== undefined && !stream.closed) stream.close(constants.NGHTTP2_CANCEL);
  stream.end();
  const received = await answer;
  session.destroy();
  return cancelAt === undefined ? received : "cancelled";
}

async function receive(stream: ClientHttp2Stream): Promise<unknown> {
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  const body: Buffer[] = [];
  stream.on("response", (received) => {
    headers = received;
  });
  stream.on("trailers", (received) => {
    trailers = received;
  });
  stream.on("data", (chunk: Buffer) => body.push(chunk));
  stream.on("error", () => {});
  await once(stream, "close");
  return {
    headers: comparable(headers),
    trailers: comparable(trailers),
    messages: comparableBody(Buffer.concat(body), headers),
    resetCode: stream.rstCode,
  };
}

/** RFC 9110, section 5.6.7. */
const imfDate = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;

/** Made by the service for a call of which its operator has to find out what went wrong. */
const requestId = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;

function comparable(headers: IncomingHttpHeaders): Record<string, unknown> {
  const { date, ...others } = headers;
  const { "x-request-id": id, "grpc-retry-pushback-ms": pushback } = headers;
  const compared = Object.entries(others).filter(([name]) => !allowedDifferences.includes(name));
  const details = "grpc-status-details-bin";
  return {
    ...Object.fromEntries(compared),
    // Both have a date (RFC 9110, section 6.6.1), not always of the same second.
    ...(date !== undefined && { date: imfDate.test(date) }),
    ...(requestId.test(String(id)) && { "x-request-id": "made by the service" }),
    // Like that of RetryInfo, its delay has jitter.
    ...(Number(pushback) > 0 && { "grpc-retry-pushback-ms": "a delay" }),
    ...(details in headers && { [details]: detailsOf(headers) }),
  };
}

/** The details of an error. Of `RetryInfo` only the type, since its delay has jitter. */
function detailsOf(headers: IncomingHttpHeaders): unknown {
  const pairs = Object.entries(headers).filter(([name]) => name.startsWith("grpc-")) as [string, string][];
  const details = findTrailerError(new Headers(pairs))?.details ?? [];
  return details.map((detail) =>
    "type" in detail && detail.type === RetryInfoSchema.typeName ? detail.type : detail,
  );
}

/** The bytes of a body, with compressed messages decompressed, and `RetryInfo` masked. */
function comparableBody(body: Buffer, headers: IncomingHttpHeaders): string {
  const type = headers["content-type"];
  if (type === "application/grpc+proto" && headers["grpc-encoding"] === "gzip") {
    return Buffer.concat(decompressed(body)).toString("base64");
  }
  // gRPC-Web and Connect have errors in the body. Only Connect's adapter serves them.
  const text = body.toString("latin1");
  if (type?.startsWith("application/grpc-web") && text.includes("grpc-status-details-bin")) {
    return text.slice(5).replace(/(?<=grpc-status-details-bin: )\S+/, "masked");
  }
  if (type === "application/json") {
    return text.replace(/(?<="google.rpc.RetryInfo",)[^}]*/, "masked");
  }
  return body.toString("base64");
}

/** @returns the messages with their prefixes, each as it was before its compression. */
function decompressed(body: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let rest = body; rest.length > 0; ) {
    const end = 5 + rest.readUInt32BE(1);
    const message = rest.subarray(0, end);
    messages.push(message[0] === 1 ? frameMessage(gunzipSync(message.subarray(5))) : message);
    rest = rest.subarray(end);
  }
  return messages;
}

/** A length-prefixed message of gRPC. @param overrides make it malformed. */
export function frameMessage(message: Uint8Array, { flags = 0, length = message.length } = {}): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flags;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}
