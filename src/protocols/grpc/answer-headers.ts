import { requestIdHeader } from "../begin-call.ts";
import { type FieldBlock, fieldBlock } from "./node-internals.ts";

let headers: readonly string[] | undefined;
let block: FieldBlock | undefined;

/**
 * The headers of every answer to gRPC: names and values in turn, as node:http2 writes them fastest. Connect answers both of
 * gRPC's binary content types with this one. The date (RFC 9110, section 6.6.1) is written once a second: to ask the clock for
 * each call would cost more than to read the call.
 */
export function answerHeaders(): readonly string[] {
  headers ??= renew();
  return headers;
}

/** @returns the same headers as node:http2's native half takes them, and the request id where the answer repeats one. */
export function answerBlock(requestId: string | undefined): FieldBlock {
  if (requestId !== undefined) return fieldBlock([...answerHeaders(), requestIdHeader, requestId]);
  block ??= fieldBlock(answerHeaders());
  return block;
}

function renew(): readonly string[] {
  const now = new Date();
  setTimeout(forget, 1_000 - now.getMilliseconds()).unref();
  return [":status", "200", "content-type", "application/grpc+proto", "date", now.toUTCString()];
}

function forget(): void {
  headers = undefined;
  block = undefined;
}
