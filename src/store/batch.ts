import type { Call, Worker } from "../status/call.ts";
import { deadlineExceeded, type JobStatus, type ReqId, StatusError } from "../status/status.ts";
import { readRow } from "./status-query.ts";
import type { Row } from "./text-query.ts";

/**
 * Calls that share a statement.
 *
 * Batches, and the calls that wait in them, are linked to nothing that outlives them. A Map or a Set that is added to and
 * deleted from without end would do that: V8 replaces its table every few changes, each table refers to the next, and
 * one that has grown old keeps all that come after it, with whatever they held, until the next full collection.
 */
export class Batch {
  /** The ids that a call still waits for. */
  readonly #wanted = new Map<ReqId, WantedId>();
  #abandonment: PromiseWithResolvers<undefined> | undefined;
  /** It waits for its turn for longer than a statement usually takes. */
  isOverdue = false;

  /** How many ids calls wait for. */
  get size(): number {
    return this.#wanted.size;
  }

  /** @returns the status, undefined where there is none. Rejects as {@link fail} and {@link giveUpLate} say. */
  add(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    let id = this.#wanted.get(reqId);
    if (id === undefined) {
      id = new WantedId(reqId, this);
      this.#wanted.set(reqId, id);
    }
    const waiter = new Waiter(call, id);
    call.worker = waiter;
    return waiter.answer.promise;
  }

  /** Resolves when no call waits for the answer any more. To be asked when the statement is sent. */
  abandonment(): Promise<undefined> {
    this.#abandonment = Promise.withResolvers();
    return this.#abandonment.promise;
  }

  ids(): ReqId[] {
    return [...this.#wanted.keys()];
  }

  /** A batch for each id, with the calls that wait for it. This one is of no use any more. */
  split(): Batch[] {
    return Array.from(this.#wanted.values(), (id) => {
      const single = new Batch();
      single.#wanted.set(id.reqId, id);
      id.batch = single;
      return single;
    });
  }

  /** @throws Error when a row was not asked for: better no answer than "not found" for the id that it was meant for. */
  resolve(rows: readonly Row[], asked: readonly ReqId[]): void {
    for (const row of rows) {
      const id = this.#wanted.get(row[0] as ReqId);
      if (id !== undefined) {
        this.#wanted.delete(id.reqId);
        id.settle(readRow(row));
      } else if (!asked.includes(row[0] as ReqId)) {
        throw new Error("the database answered with a row that was not asked for");
      }
    }
    this.#settleAll(undefined);
  }

  fail(reason: StatusError): void {
    this.#settleAll(reason);
  }

  #settleAll(outcome: undefined | StatusError): void {
    const ids = [...this.#wanted.values()];
    this.#wanted.clear();
    for (const id of ids) id.settle(outcome);
  }

  /** Calls whose deadline has passed get no answer any more. */
  giveUpLate(now: number): void {
    for (const id of this.#wanted.values()) id.giveUpLate(now);
  }

  /** No call waits for this id any more. */
  drop(reqId: ReqId): void {
    this.#wanted.delete(reqId);
    if (this.#wanted.size === 0) this.#abandonment?.resolve(undefined);
  }
}

/** An id with the calls that wait for it: as many may ask for one id as there are calls. */
class WantedId {
  readonly reqId: ReqId;
  batch: Batch;
  /** The last to ask; each knows its neighbours, so that a call that leaves costs the others nothing. */
  last: Waiter | undefined;

  constructor(reqId: ReqId, batch: Batch) {
    this.reqId = reqId;
    this.batch = batch;
  }

  settle(outcome: JobStatus | undefined | StatusError): void {
    let waiter = this.last;
    this.last = undefined;
    for (; waiter !== undefined; waiter = waiter.previous) waiter.settle(outcome);
  }

  giveUpLate(now: number): void {
    for (let waiter = this.last; waiter !== undefined; waiter = waiter.previous) {
      if (waiter.call.deadline <= now) waiter.cancel(deadlineExceeded());
    }
  }
}

/** One call that waits for its row. */
class Waiter implements Worker {
  readonly call: Call;
  readonly answer = Promise.withResolvers<JobStatus | undefined>();
  readonly #id: WantedId;
  previous: Waiter | undefined;
  #next: Waiter | undefined;

  constructor(call: Call, id: WantedId) {
    this.call = call;
    this.#id = id;
    this.previous = id.last;
    if (id.last !== undefined) id.last.#next = this;
    id.last = this;
  }

  settle(outcome: JobStatus | undefined | StatusError): void {
    this.call.worker = undefined;
    if (outcome instanceof StatusError) this.answer.reject(outcome);
    else this.answer.resolve(outcome);
  }

  /** The call leaves before it is answered. */
  cancel(reason: unknown): void {
    this.call.worker = undefined;
    this.answer.reject(reason);
    const { previous } = this;
    if (previous !== undefined) previous.#next = this.#next;
    if (this.#next !== undefined) this.#next.previous = previous;
    else {
      this.#id.last = previous;
      if (previous === undefined) this.#id.batch.drop(this.#id.reqId);
    }
  }
}
