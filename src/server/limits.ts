/** What clients may demand of the service. Times in milliseconds. */
export interface Limits {
  /**
   * Connections at the same time. Above 80 % of them the oldest idle ones are closed; a connection beyond all of them is
   * closed at once. Default: no limit.
   */
  readonly maxConnections?: number;
  /** Streams at the same time on an HTTP/2 connection. Default: Node's. */
  readonly maxConcurrentStreams?: number;
  /** Streams that a client may reset in a second on an HTTP/2 connection. Default: Node's. */
  readonly maxStreamResets?: number;
  /** Bytes of a request's headers. Default: no limit over HTTP/2, Node's over HTTP/1.1. */
  readonly maxHeaderSize?: number;
  /** How long a client may take to send a request, from its first byte on, and to read a response. */
  readonly peerTimeout?: number;
  /** How long a connection may be without a call, and without its first byte. */
  readonly idleTimeout?: number;
  /** How long nothing may arrive on an HTTP/2 connection with streams before the client gets a PING. */
  readonly keepAliveTime?: number;
  /** How long the client may take to answer the PING. */
  readonly keepAliveTimeout?: number;
  /** Age of a connection, plus or minus 10 %, from which on it takes no more calls. */
  readonly maxConnectionAge?: number;
  /** How long after that held calls may continue. */
  readonly maxConnectionAgeGrace?: number;
}

const defaults = {
  maxConnections: Number.POSITIVE_INFINITY,
  peerTimeout: 10_000,
  idleTimeout: 65_000,
  keepAliveTime: 30_000,
  keepAliveTimeout: 10_000,
  maxConnectionAge: 1_800_000,
  maxConnectionAgeGrace: 30_000,
} as const satisfies Limits;

/** Limits of which only those are absent that Node has defaults for. */
export type CompleteLimits = Limits & Required<Pick<Limits, keyof typeof defaults>>;

export function completeLimits(limits: Limits): CompleteLimits {
  return { ...defaults, ...limits };
}

/** How often, in milliseconds, connections and streams are compared with the limits: four times within the shortest. */
export function sweepIntervalOf(limits: CompleteLimits): number {
  const { peerTimeout, idleTimeout, keepAliveTime, keepAliveTimeout } = limits;
  const { maxConnectionAge, maxConnectionAgeGrace } = limits;
  const shortest = Math.min(
    ...[peerTimeout, idleTimeout, keepAliveTime, keepAliveTimeout, maxConnectionAge, maxConnectionAgeGrace],
  );
  return shortest / 4;
}
