import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import type { CallInfo } from "../protocols/call-info.ts";
import { StatusError } from "../status/errors.ts";
import { isOurFault } from "./errors.ts";

export type ProtocolName = "rest" | "connect" | "grpc" | "grpc-web";

/** The observation of one call, from the arrival of its headers to its outcome. */
export interface CallObservation {
  /**
   * Only the first call of this counts.
   *
   * @param code the gRPC status code by its name: `OK`, `NOT_FOUND`.
   * @param fault what went wrong, when the service is at fault and its operator has to look into it.
   */
  end(code: string, fault?: unknown): void;
  /** The call is observed elsewhere: it does not count here. */
  discard(): void;
}

/** Observes the calls of one method over one protocol. */
export interface CallObserver {
  /** @param info may become more complete until the call ends. */
  start(info: CallInfo): CallObservation;
}

/** @param method the full name of the RPC, `package.Service/Method`; the path of a probe; {@link unknownMethod}; {@link preflight}. */
export type Observe = (protocol: ProtocolName, method: string) => CallObserver;

/** Stands for all methods and paths that do not exist: no caller can make up a label (OpenTelemetry names it so). */
export const unknownMethod = "_OTHER";

const ignored: CallObservation = { end() {}, discard() {} };

/** Stands for a browser's questions whether a page may ask, whatever it wants to ask for. */
export const preflight = "OPTIONS";

/** Observes nothing. */
export const unobserved: Observe = () => ({ start: () => ignored });

/** Ends the observation of an RPC with what its handler, or Connect, threw. A fault gets a request id if it has none. */
export function endWithError(observation: CallObservation, info: CallInfo, reason: unknown) {
  const code = codeName(reason instanceof ConnectError ? reason.code : Code.Internal);
  if (!isFault(reason)) return observation.end(code);
  info.requestId ??= randomUUID();
  observation.end(code, reason instanceof ConnectError ? reason.cause : reason);
}

/** Connect's own errors are about what the caller sent, whatever their code. */
function isFault(reason: unknown): boolean {
  if (!(reason instanceof ConnectError)) return true;
  const { cause } = reason;
  return isOurFault(reason.code) && cause instanceof StatusError && cause.reason !== "GOING_AWAY";
}

const codeNames = new Map<Code, string>(
  Object.entries(Code)
    .filter((entry): entry is [string, Code] => typeof entry[1] === "number")
    .map(([name, code]) => [code, name.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase()]),
);

// Connect spells it with one l, gRPC with two.
codeNames.set(Code.Canceled, "CANCELLED");

/** The name of a code as the gRPC specification writes it: `Code.NotFound` → `NOT_FOUND`. */
export function codeName(code: Code): string {
  return codeNames.get(code) ?? "UNKNOWN";
}
