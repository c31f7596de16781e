import { randomUUID } from "node:crypto";
import type { Call } from "../../../src/status/call.ts";
import { datastoreUnavailable } from "../../../src/status/errors.ts";
import { parseReqId, type ReqId } from "../../../src/status/req-id.ts";
import type { JobState } from "../../../src/status/status.ts";
import type { PolledStatus, PollOutcome } from "../../../src/status/status-store.ts";

/** A store whose rows a test sets, and which notes what it was asked. */
export class FakeStore {
  readonly rows = new Map<ReqId, PollOutcome>();
  /** The ids of each read, in order. */
  readonly reads: (readonly ReqId[])[] = [];
  /** Whether the database cannot be asked. */
  isDown = false;
  /** Holds back the answers of the reads that begin from now on. */
  gate: Promise<void> | undefined;

  /** @returns the id of a new row. */
  add(status: JobState, more: Partial<PolledStatus> = {}): ReqId {
    const reqId = parseReqId(randomUUID());
    this.set(reqId, status, more);
    return reqId;
  }

  set(reqId: ReqId, status: JobState, more: Partial<PolledStatus> = {}): void {
    const error = status === "failure" ? { error: "out of memory" } : {};
    this.rows.set(reqId, { status, createdAt, age: 1_000, sinceUpdate: 5, ...error, ...more });
  }

  readonly poll = async (reqIds: readonly ReqId[], call: Call): Promise<ReadonlyMap<ReqId, PollOutcome>> => {
    this.reads.push(reqIds);
    await this.gate;
    if (call.cancelled) throw call.reason;
    const outcome = (reqId: ReqId) =>
      this.isDown ? datastoreUnavailable(new Error("down")) : this.rows.get(reqId);
    return new Map(reqIds.map((reqId) => [reqId, outcome(reqId)]));
  };
}

export const createdAt = new Date("2026-03-03T21:44:15Z");
