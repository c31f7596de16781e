import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { ServerStreamingEndpoint, UnaryEndpoint } from "../../endpoints/endpoint.ts";
import type { Life } from "../../endpoints/life.ts";
import type { Observer } from "../../status/observation.ts";
import type { Codec } from "./framing.ts";

/** Passes a stream on to Connect's adapter, as if it had never been read. */
export type FallBack = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  /** Names and values in turn. Absent: their size is checked already. */
  rawHeaders?: readonly string[],
) => void;

/** What takes one message. */
export type ServedEndpoint = UnaryEndpoint | ServerStreamingEndpoint;

/** A method as the fast path serves it. */
export interface FastMethod<Served extends ServedEndpoint = ServedEndpoint> {
  readonly endpoint: Served;
  readonly life: Life;
  readonly codec: Codec | undefined;
  /** It may run before the end of the request has come, since running it for nothing does no harm. */
  readonly isSafe: boolean;
  readonly observer: Observer;
}
