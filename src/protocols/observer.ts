import { randomUUID } from "node:crypto";
import { Code } from "@connectrpc/connect";

type ProtocolName = "rest" | "connect" | "grpc" | "grpc-web";

/** What went wrong with a call. */
export interface Failure {
  readonly error: unknown;
  /** By which a caller's complaint finds the log line. Present when the caller was told of it. */
  readonly requestId: string | undefined;
}

/** Told of each call of one method over one protocol. */
export interface CallObserver {
  started(): void;
  /**
   * @param code the gRPC status code by its name: `OK`, `NOT_FOUND`.
   * @param duration in milliseconds.
   * @param failure absent when the call succeeded.
   */
  finished(code: string, duration: number, failure?: Failure): void;
}

/** @param method the full name of the RPC, `package.Service/Method`. */
export type Observe = (protocol: ProtocolName, method: string) => CallObserver;

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

/** The header in which a caller may name a request, and in which we name it when its failure is our fault. */
export const requestIdHeader = "x-request-id";

/** @returns the caller's name for this request, if it is short and printable; otherwise a new one. */
export function requestIdOf(given: string | null | undefined): string {
  return given && /^[\w.:/+=-]{1,128}$/.test(given) ? given : randomUUID();
}
