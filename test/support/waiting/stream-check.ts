import type { JobState } from "../../../src/status/status.ts";
import { isFinal, type LiveJob } from "./job-writer.ts";

/** A status as a client was told it. */
export interface ToldStatus {
  readonly status: JobState;
  /** In milliseconds. */
  readonly createdAt: number;
  readonly error: string | undefined;
}

const order: readonly JobState[] = ["pending", "processing", "success", "failure"];

/** Checks what a client is told on one stream, or in one answer, of jobs that change meanwhile. */
export interface StreamCheck {
  /** @param status undefined: there is none. */
  told(reqId: string, status: ToldStatus | undefined): void;
  /** How many events there were. */
  readonly events: number;
  /** The ids that are not final yet. */
  readonly open: ReadonlySet<string>;
  /** What was wrong, in words. */
  readonly complaints: readonly string[];
}

interface StreamCheckOptions {
  /** How much older than the stream a status may be where replicas answer, in milliseconds. */
  readonly maxStaleness: number;
  /** To be called for each event. */
  readonly onTold: () => void;
}

/**
 * A status is right that was written, and is no older than what was acknowledged when the stream began. On one stream it never
 * goes back, is never told twice, and nothing follows what is final.
 */
export function createStreamCheck(
  jobs: readonly LiveJob[],
  { maxStaleness, onTold }: StreamCheckOptions,
): StreamCheck {
  const begunAt = performance.now() - maxStaleness;
  const byId = new Map(
    jobs.map((job) => [
      job.reqId,
      { job, oldest: acknowledgedBy(job, begunAt) - 1, last: undefined as ToldStatus | undefined },
    ]),
  );
  const open = new Set(byId.keys());
  const complaints: string[] = [];
  let events = 0;

  function faultOf(reqId: string, status: ToldStatus | undefined): string | undefined {
    const known = byId.get(reqId);
    if (known === undefined) return "was not asked for";
    if (!open.has(reqId)) return "is told of after its final status";
    if (status === undefined) return "is gone";
    const { job, oldest, last } = known;
    const read = job.states.findLastIndex(
      (state) => state.status === status.status && state.error === status.error,
    );
    if (read === -1) return "has a status that was never written";
    if (read < oldest) return "has a status that is too old";
    if (last !== undefined && !isLater(status, last)) return "has no new status";
    known.last = status;
    return undefined;
  }

  return {
    told(reqId, status) {
      events++;
      onTold();
      const fault = faultOf(reqId, status);
      if (fault !== undefined) {
        const known = byId.get(reqId);
        complaints.push(`${reqId} ${fault}: ${JSON.stringify({ status, ...known, now: performance.now() })}`);
      }
      if (status === undefined || isFinal(status)) open.delete(reqId);
    },
    get events() {
      return events;
    },
    open,
    complaints,
  };
}

function acknowledgedBy({ acknowledgedAt }: LiveJob, time: number): number {
  return acknowledgedAt.filter((at) => at <= time).length;
}

function isLater(status: ToldStatus, last: ToldStatus): boolean {
  const later = status.createdAt - last.createdAt;
  return later > 0 || (later === 0 && order.indexOf(status.status) > order.indexOf(last.status));
}
