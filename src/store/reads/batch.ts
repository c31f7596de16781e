import type { Call, Cancellable } from "../../status/call.ts";
import { deadlineExceeded, StatusError } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { Statement } from "./reader.ts";
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
  /** The ids that a call still waits for, each with the last call that asked for it. */
  readonly #wanted = new Map<ReqId, Waiter>();
  #statement: Statement | undefined;
  #onOver: (() => void) | undefined;
  /** Whether no call waits any more for the answer of the statement that was sent. */
  isAbandoned = false;
  /** It waits for its turn for longer than a statement usually takes. */
  isOverdue = false;

  /** How many ids calls wait for. */
  get size(): number {
    return this.#wanted.size;
  }

  /** @returns the status, undefined where there is none. Rejects as {@link fail} and {@link giveUpLate} say. */
  add(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    const waiter = new Waiter(reqId, call, this, this.#wanted.get(reqId));
    this.#wanted.set(reqId, waiter);
    call.attach(waiter);
    return waiter.answer.promise;
  }

  /** @param onOver told by {@link over}, or when no call waits for the answer any more: then the statement is cancelled. */
  sent(statement: Statement, onOver: () => void): void {
    this.#statement = statement;
    this.#onOver = onOver;
  }

  /** The statement is over. */
  over(): void {
    const onOver = this.#onOver;
    this.#statement = undefined;
    this.#onOver = undefined;
    onOver?.();
  }

  ids(): ReqId[] {
    return [...this.#wanted.keys()];
  }

  /** A batch for each id, with the calls that wait for it. This one is of no use any more. */
  split(): Batch[] {
    return Array.from(this.#wanted, ([reqId, last]) => {
      const single = new Batch();
      single.#wanted.set(reqId, last);
      for (let waiter: Waiter | undefined = last; waiter !== undefined; waiter = waiter.previous) {
        waiter.batch = single;
      }
      return single;
    });
  }

  /**
   * @param asked the ids that the statement asked for.
   * @throws Error when a row was not asked for: better no answer than "not found" for the id that it was meant for.
   */
  resolve(rows: readonly Row[], asked: readonly ReqId[]): void {
    for (const row of rows) {
      const reqId = row[0] as ReqId;
      const last = this.#wanted.get(reqId);
      if (last !== undefined) settle(last, readRow(row));
      else if (!asked.includes(reqId)) {
        throw new Error("the database answered with a row that was not asked for");
      }
    }
    this.#settleAll(undefined);
  }

  fail(reason: StatusError): void {
    this.#settleAll(reason);
  }

  /** Of what is settled already, nothing changes. */
  #settleAll(outcome: undefined | StatusError): void {
    for (const last of this.#wanted.values()) settle(last, outcome);
  }

  /** Calls whose deadline has passed get no answer any more. */
  giveUpLate(now: number): void {
    for (const last of this.#wanted.values()) {
      for (let waiter: Waiter | undefined = last; waiter !== undefined; waiter = waiter.previous) {
        if (waiter.call.deadline <= now) waiter.cancel(deadlineExceeded());
      }
    }
  }

  /** The last call that asked for an id has left. @param previous the one before it that still waits. */
  leave(reqId: ReqId, previous: Waiter | undefined): void {
    if (previous !== undefined) this.#wanted.set(reqId, previous);
    else this.#wanted.delete(reqId);
    if (this.#wanted.size > 0 || this.#statement === undefined) return;
    this.isAbandoned = true;
    this.#statement.cancel();
    this.over();
  }
}

/** As many calls may ask for one id as there are calls: too many for a recursion. */
function settle(last: Waiter, outcome: JobStatus | undefined | StatusError): void {
  for (let waiter: Waiter | undefined = last; waiter !== undefined; waiter = waiter.previous) {
    waiter.settle(outcome);
  }
}

/** One call that waits for its row. Those that ask for the same id know their neighbours: to leave costs the others nothing. */
class Waiter implements Cancellable {
  readonly reqId: ReqId;
  readonly call: Call;
  batch: Batch;
  previous: Waiter | undefined;
  #next: Waiter | undefined;
  readonly answer = Promise.withResolvers<JobStatus | undefined>();

  constructor(reqId: ReqId, call: Call, batch: Batch, previous: Waiter | undefined) {
    this.reqId = reqId;
    this.call = call;
    this.batch = batch;
    this.previous = previous;
    if (previous !== undefined) previous.#next = this;
  }

  settle(outcome: JobStatus | undefined | StatusError): void {
    this.call.detach(this);
    if (outcome instanceof StatusError) this.answer.reject(outcome);
    else this.answer.resolve(outcome);
  }

  /** The call leaves before it is answered. */
  cancel(reason: unknown): void {
    this.call.detach(this);
    this.answer.reject(reason);
    const { previous } = this;
    if (previous !== undefined) previous.#next = this.#next;
    if (this.#next === undefined) this.batch.leave(this.reqId, previous);
    else this.#next.previous = previous;
  }
}
