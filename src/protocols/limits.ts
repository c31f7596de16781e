import type { ServerOptions as Http1Options } from "node:http";
import type { ServerOptions as Http2Options } from "node:http2";
import { readHeaders } from "./header-size.ts";

/** What peers may ask of us. What is absent is as Node has it, but for the timeouts. Times in milliseconds. */
export interface Limits {
  /** At the same time. Who comes then is dropped at once. */
  readonly maxConnections?: number;
  /** At the same time on an HTTP/2 connection. */
  readonly maxConcurrentStreams?: number;
  /** In a second on an HTTP/2 connection. */
  readonly maxStreamResets?: number;
  /** Of a request, in bytes. */
  readonly maxHeaderSize?: number;
  /** How long a peer may take to say which protocol it speaks, to send a request, and to take an answer. */
  readonly peerTimeout?: number;
  /** How long a connection may be without a call. */
  readonly idleTimeout?: number;
}

export function http1Options(
  { maxHeaderSize }: Limits,
  peerTimeout: number,
  idleTimeout: number,
): Http1Options {
  return {
    keepAlive: true,
    noDelay: true,
    keepAliveTimeout: idleTimeout,
    headersTimeout: peerTimeout,
    requestTimeout: peerTimeout,
    // The router refuses such requests, and counts them.
    requireHostHeader: false,
    // How often Node compares slow requests with the clock.
    connectionsCheckingInterval: Math.ceil(peerTimeout / 10),
    ...(maxHeaderSize !== undefined && { maxHeaderSize }),
  };
}

export function http2Options({ maxConcurrentStreams, maxHeaderSize, maxStreamResets }: Limits): Http2Options {
  const headers = maxHeaderSize === undefined ? undefined : readHeaders(maxHeaderSize);
  return {
    settings: {
      ...(maxConcurrentStreams !== undefined && { maxConcurrentStreams }),
      ...(headers !== undefined && { maxHeaderListSize: headers.size }),
    },
    ...(headers !== undefined && { maxHeaderListPairs: headers.fields }),
    ...(maxStreamResets !== undefined && {
      streamResetBurst: maxStreamResets,
      streamResetRate: maxStreamResets,
    }),
  };
}
