import { randomUUID } from "node:crypto";
import { Call } from "../../src/status/call.ts";
import { StatusError } from "../../src/status/errors.ts";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import type { StatusOutcome } from "../../src/status/status-store.ts";
import { type Connections, openConnections } from "../../src/store/connections/connections.ts";
import { openDatabase } from "../../src/store/database.ts";

/** What every pool of a test has in common. Times in milliseconds. */
export const poolOptions = { connectTimeout: 1_000, onLost() {} };

/** Connections as the service opens them. */
export function openTestConnections(
  url: string,
  size = 4,
  connectTimeout = poolOptions.connectTimeout,
): Connections {
  return openConnections({ url, size, ...poolOptions, connectTimeout });
}

/** @param timeout in milliseconds, after which its deadline passes: by default longer than a test takes. */
export function callWithin(timeout = 60_000): Call {
  return new Call(performance.now() + timeout);
}

export function newReqId(): ReqId {
  return parseReqId(randomUUID());
}

/** @returns each outcome of several ids, in order: the status, the reason of the error, or `none`. */
export function wordsOf(outcomes: ReadonlyMap<ReqId, StatusOutcome>): string[] {
  return Array.from(outcomes.values(), (outcome) =>
    outcome instanceof StatusError ? outcome.reason : (outcome?.status ?? "none"),
  );
}

/** Asks the service over REST. @returns the status, or the reason of the error. */
export async function getStatus(url: string, reqId: string): Promise<string | null> {
  const response = await fetch(`${url}/get_status/${reqId}`);
  const { status } = (await response.json()) as { status?: string };
  return status ?? response.headers.get("error-reason");
}

/** A database of which each error of a connection is remembered. */
export function openNoting(url: string, size: number, maxAge?: number) {
  const errors: unknown[] = [];
  const note = (error: unknown) => void errors.push(error);
  const opened = openDatabase({
    ...poolOptions,
    url,
    size,
    maxInFlight: size,
    flushAt: 1,
    ...(maxAge !== undefined && { maxAge }),
    onLost: note,
    onLimited: note,
    onNotReplaced: note,
    onBreaker(cause) {
      if (cause !== undefined) note(cause);
    },
  });
  return { ...opened, errors, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
}
