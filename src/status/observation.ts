import type { Call } from "./call.ts";

/** The observation of one call, from the arrival of its headers to its outcome: a log line, a measurement, a span. */
export interface Observation {
  /** A message of a stream was sent. */
  message(): void;
  /**
   * Only the first end of a call counts.
   *
   * @param code the gRPC status code by its name: `OK`, `NOT_FOUND`.
   * @param fault what went wrong, when the service is at fault and its operator has to look into it.
   */
  end(code: string, fault?: unknown): void;
}

/** Observes the calls of one method over one protocol. */
export interface Observer {
  /** @param call may become more complete until it ends. */
  start(call: Call): Observation;
}

export type ProtocolName = "rest" | "connect" | "grpc" | "grpc-web";

/**
 * Makes an observer, once for each method and protocol.
 *
 * @param method the full name of the RPC, `package.Service/Method`; the path of a probe; {@link unknownMethod};
 *   {@link preflightMethod}.
 */
export type Observe = (protocol: ProtocolName, method: string) => Observer;

/** Stands for all methods and paths that do not exist: no caller can make up a label (OpenTelemetry names it so). */
export const unknownMethod = "_OTHER";

/** Stands for a browser's preflights, whatever they ask about. */
export const preflightMethod = "OPTIONS";

const unobserved: Observation = { message() {}, end() {} };

/** Observes nothing. */
export const observeNothing: Observe = () => ({ start: () => unobserved });
