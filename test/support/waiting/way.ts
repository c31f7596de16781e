import type { StreamCheck, ToldStatus } from "./stream-check.ts";

/** How an attempt ended. */
export interface End {
  /** `OK`, the reason that the service gave, or in words what happened to the connection. */
  readonly as: string;
  /** How long the service asks to wait before the next attempt, in milliseconds. */
  readonly retryAfter: number;
  /** Whether there is no answer of the service: the connection was lost, or there was none. */
  readonly isLost?: true;
}

/** A way to wait for the end of jobs. Disposing of it closes its connections. */
export interface Way extends Disposable {
  readonly name: string;
  /** How many jobs a client waits for in one call. */
  readonly ids: number;
  /** Whether one call reports every change until all are final, and may end with OK only then. */
  readonly isStream: boolean;
  /**
   * Makes one call, and tells the check what it is told.
   *
   * @param client the number of the client: some share a connection.
   */
  attempt(url: string, client: number, check: StreamCheck, signal: AbortSignal): Promise<End>;
}

/** @param json the documented one. */
export function toldByJson(json: string): ToldStatus {
  const { status, createdAt, error } = JSON.parse(json);
  return { status, createdAt: Date.parse(createdAt), error };
}
