import type { ServerHttp2Stream } from "node:http2";

// What the fast path uses of node:http2 without Node documenting it (docs/explain/private-interfaces.md). Each function is named
// by its tests in test/protocols/grpc-node-internals.test.ts, which fail when a version of Node changes what it relies on.

/** node:http2's flag of a stream whose headers were sent (STREAM_FLAGS_HEADERS_SENT). */
const headersSent = 0x4;

/** Its option of a response that ends with trailers (STREAM_OPTION_GET_TRAILERS). */
const getTrailers = 0x2;

/** Header fields for the native half of a stream: `name NUL value NUL flags` for each, and how many there are. */
export type FieldBlock = readonly [fields: string, count: number];

/** @param fields names in lower case and values in turn, all of them valid: node:http2 does not check them again. */
export function fieldBlock(fields: readonly string[]): FieldBlock {
  let text = "";
  for (let at = 0; at < fields.length; at += 2) text += `${fields[at]}\0${fields[at + 1]}\0\0`;
  return [text, fields.length / 2];
}

interface State {
  flags: number;
}

/** The native half of a stream. */
interface Handle {
  /** @returns a negative number where nghttp2 refuses. */
  respond(headers: FieldBlock, options: number): number;
  trailers(trailers: FieldBlock): number;
}

/** The symbols of the properties of every stream, known from the first one. */
let stateSymbol: symbol | undefined;
let handleSymbol: symbol | undefined;

function property<T>(stream: ServerHttp2Stream, symbol: symbol | undefined): T | undefined {
  return symbol && (stream as unknown as Readonly<Record<symbol, T>>)[symbol];
}

function symbolNamed(stream: ServerHttp2Stream, name: string): symbol | undefined {
  return Object.getOwnPropertySymbols(stream).find(({ description }) => description === name);
}

/**
 * Responds so that headers, body and trailers leave in one write. node:http2 by itself writes the trailers two turns of the event
 * loop after the body, and does not take headers that were encoded before.
 *
 * On the event `wantTrailers`, which comes while the body is written, {@link sendTrailersInOneWrite} has to be called.
 *
 * @returns false where this version of Node keeps its streams otherwise. Nothing was sent then.
 */
export function respondInOneWrite(stream: ServerHttp2Stream, headers: FieldBlock, body: Buffer): boolean {
  stateSymbol ??= symbolNamed(stream, "state");
  handleSymbol ??= symbolNamed(stream, "kHandle");
  const state = property<State>(stream, stateSymbol);
  const handle = property<Handle>(stream, handleSymbol);
  if (state === undefined || handle === undefined) return false;
  // node:http2 would also note that trailers follow, and would then not tell its native half that the body is whole before the
  // body has been written.
  state.flags |= headersSent;
  if (handle.respond(headers, getTrailers) < 0) throw new Error("nghttp2 refused the headers of a response");
  stream.end(body);
  return true;
}

/** nghttp2 takes trailers from within `wantTrailers`. Node's own `sendTrailers` waits for the next turn of the event loop. */
export function sendTrailersInOneWrite(stream: ServerHttp2Stream, trailers: FieldBlock): void {
  property<Handle>(stream, handleSymbol)?.trailers(trailers);
}
