import type { Call, Worker } from "../status/call.ts";
import { deadlineExceeded, type JobState, type JobStatus, type ReqId } from "../status/status.ts";
import type { Statement } from "./reader.ts";
import type { Row } from "./text-query.ts";

/**
 * Calls that share a statement.
 *
 * Batches, and those who wait in them, are linked to nothing that outlives them. A Map or a Set that is added to and
 * deleted from without end would do that: V8 replaces its table every few changes, each table refers to the next, and
 * one that has grown old keeps all that come after it, with whatever they held, until the next full collection.
 */
export class Batch {
  readonly #waiters: Waiter[] = [];
  /** The last who asked for an id. */
  readonly #byId = new Map<ReqId, Waiter>();
  readonly #onAbandoned: (batch: Batch) => void;
  #unanswered = 0;
  /** Undefined: it waits for its turn. */
  statement: Statement | undefined;
  /** When its turn came, by `performance.now()`. */
  startedAt = 0;
  /** It waits for its turn for longer than a statement usually takes. */
  isOverdue = false;

  /** @param onAbandoned told when all who waited for the answer have given up. */
  constructor(onAbandoned: (batch: Batch) => void) {
    this.#onAbandoned = onAbandoned;
  }

  /** How many ids are asked for. */
  get size(): number {
    return this.#byId.size;
  }

  /** Whether there is anybody who still waits. */
  get isWanted(): boolean {
    return this.#unanswered > 0;
  }

  /** @returns the status, undefined where there is none. Rejects as {@link fail} and {@link giveUpLate} say. */
  add(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    const waiter = new Waiter(reqId, call, this, this.#byId.get(reqId));
    this.#byId.set(reqId, waiter);
    this.#waiters.push(waiter);
    this.#unanswered++;
    call.worker = waiter;
    return waiter.answer.promise;
  }

  /** The ids that somebody still waits for. */
  ids(): ReqId[] {
    const ids: ReqId[] = [];
    for (const waiter of this.#byId.values()) if (waiter.isWanted) ids.push(waiter.reqId);
    return ids;
  }

  /** @throws Error when a row was not asked for: better no answer than "not found" for the id that it was meant for. */
  resolve(rows: readonly Row[]): void {
    for (const row of rows) {
      let waiter = this.#byId.get(row[0] as ReqId);
      if (waiter === undefined) throw new Error("the database answered with a row that was not asked for");
      const status = toJobStatus(row);
      for (; waiter !== undefined; waiter = waiter.next) waiter.resolve(status);
    }
    for (const waiter of this.#waiters) waiter.resolve(undefined);
  }

  fail(reason: unknown): void {
    for (const waiter of this.#waiters) waiter.reject(reason);
  }

  /** Those whose deadline has passed get no answer any more. */
  giveUpLate(now: number): void {
    for (const waiter of this.#waiters) if (waiter.call.deadline <= now) waiter.giveUp();
  }

  /** One waiter less: it has its answer, or wants none any more. */
  settled(): void {
    this.#unanswered--;
  }

  abandonIfUnwanted(): void {
    if (this.#unanswered === 0) this.#onAbandoned(this);
  }
}

/** One call that waits for its row. */
class Waiter implements Worker {
  readonly reqId: ReqId;
  readonly call: Call;
  readonly batch: Batch;
  /** Who asked for the same id before, in the same batch. */
  readonly next: Waiter | undefined;
  readonly answer = Promise.withResolvers<JobStatus | undefined>();
  #settled = false;

  constructor(reqId: ReqId, call: Call, batch: Batch, next: Waiter | undefined) {
    this.reqId = reqId;
    this.call = call;
    this.batch = batch;
    this.next = next;
  }

  /** Whether this one, or another who asked for the same id, still waits. */
  get isWanted(): boolean {
    // As many may ask for one id as there are calls: too many for a recursion.
    for (let waiter: Waiter | undefined = this; waiter !== undefined; waiter = waiter.next) {
      if (!waiter.#settled) return true;
    }
    return false;
  }

  resolve(status: JobStatus | undefined): void {
    if (this.#settle()) this.answer.resolve(status);
  }

  reject(reason: unknown): void {
    if (this.#settle()) this.answer.reject(reason);
  }

  cancel(reason: unknown): void {
    if (!this.#settle()) return;
    this.answer.reject(reason);
    this.batch.abandonIfUnwanted();
  }

  giveUp(): void {
    if (!this.#settled) this.cancel(deadlineExceeded());
  }

  /** @returns whether it is the first time. */
  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.call.worker = undefined;
    this.batch.settled();
    return true;
  }
}

function toJobStatus([, status, error, epoch]: Row): JobStatus {
  const createdAt = new Date(Number(epoch) * 1000);
  return typeof error === "string"
    ? { status: status as JobState, createdAt, error }
    : { status: status as JobState, createdAt };
}
