import type { Call } from "../../status/call.ts";
import type { StatusError } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { StatusOutcome } from "../../status/status-store.ts";
import { type FindMany, ManyWaiter } from "./find-many.ts";
import type { Statement } from "./reader.ts";
import { readPolledRow, readRow } from "./status-query.ts";
import type { Row } from "./text-query.ts";
import { FindWaiter, type Waiter } from "./waiter.ts";

/** What its calls have in common. Batches of one kind share an object. */
export interface BatchKind {
  /** Whether they wait for another status, and are answered with a PolledStatus. */
  readonly isPolled: boolean;
  /** How many ids a statement asks for at most. */
  readonly maxIds: number;
}

/**
 * Calls that share a statement.
 *
 * Batches, and the calls that wait in them, are linked to nothing that outlives them. A Map or a Set that is added to and
 * deleted from without end would do that: V8 replaces its table every few changes, each table refers to the next, and
 * one that has grown old keeps all that come after it, with whatever they held, until the next full collection.
 */
export class Batch {
  readonly kind: BatchKind;
  /** The ids that a call still waits for, each with its last waiter. */
  readonly #wanted = new Map<ReqId, Waiter>();
  #statement: Statement | undefined;
  #onFinished: (() => void) | undefined;
  /** Whether no call waits any more for the answer of the statement that was sent. */
  isAbandoned = false;
  /** Whether it has waited to be sent for longer than a statement usually takes. */
  isOverdue = false;

  constructor(kind: BatchKind) {
    this.kind = kind;
  }

  /** How many ids calls wait for. */
  get size(): number {
    return this.#wanted.size;
  }

  /** @returns the status, undefined where there is none. Rejects when the read fails, the call's deadline passes, or it is cancelled. */
  add(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    const waiter = new FindWaiter(reqId, call, this, this.#wanted.get(reqId));
    this.#wanted.set(reqId, waiter);
    call.attach(waiter);
    return waiter.answer.promise;
  }

  /** Settles an id of a call that reads several. */
  addOneOf(many: FindMany, reqId: ReqId): void {
    this.#wanted.set(reqId, new ManyWaiter(reqId, many, this, this.#wanted.get(reqId)));
  }

  /** @param onFinished called by {@link finish}, or when no call waits for the answer any more: then the statement is cancelled. */
  sent(statement: Statement, onFinished: () => void): void {
    this.#statement = statement;
    this.#onFinished = onFinished;
  }

  /** The statement has ended. */
  finish(): void {
    const onFinished = this.#onFinished;
    this.#statement = undefined;
    this.#onFinished = undefined;
    onFinished?.();
  }

  ids(): ReqId[] {
    return [...this.#wanted.keys()];
  }

  /** @returns a batch for each id, with its waiters. This one must not be used any more. */
  split(): Batch[] {
    return Array.from(this.#wanted, ([reqId, last]) => {
      const single = new Batch(this.kind);
      single.#wanted.set(reqId, last);
      for (let waiter: Waiter | undefined = last; waiter !== undefined; waiter = waiter.previous) {
        waiter.list = single;
      }
      return single;
    });
  }

  /**
   * @param asked the ids that the statement asked for.
   * @throws Error when a row was not asked for: no answer is better than "not found" for the id that it was meant for.
   */
  resolve(rows: readonly Row[], asked: readonly ReqId[]): void {
    const read = this.kind.isPolled ? readPolledRow : readRow;
    let wasAsked: ReadonlySet<ReqId> | undefined;
    for (const row of rows) {
      const reqId = row[0] as ReqId;
      const last = this.#wanted.get(reqId);
      if (last !== undefined) settle(last, read(row));
      else {
        wasAsked ??= new Set(asked);
        if (wasAsked.has(reqId)) continue;
        throw new Error("the database answered with a row that was not asked for");
      }
    }
    this.#settleAll(undefined);
  }

  fail(reason: StatusError): void {
    this.#settleAll(reason);
  }

  /** What is settled already stays so. */
  #settleAll(outcome: undefined | StatusError): void {
    for (const last of this.#wanted.values()) settle(last, outcome);
  }

  /** Settles the waiters of calls whose deadline has passed. */
  expire(now: number): void {
    for (const last of this.#wanted.values()) {
      for (let waiter: Waiter | undefined = last; waiter !== undefined; waiter = waiter.previous) {
        if (waiter.call.deadline <= now) waiter.expire();
      }
    }
  }

  /** The last waiter of an id is removed. @param previous the one before it, which still waits. */
  remove(reqId: ReqId, previous: Waiter | undefined): void {
    if (previous !== undefined) this.#wanted.set(reqId, previous);
    else this.#wanted.delete(reqId);
    if (this.#wanted.size > 0 || this.#statement === undefined) return;
    this.isAbandoned = true;
    this.#statement.cancel();
    this.finish();
  }
}

/** A loop, and no recursion: one id may have as many waiters as there are calls. */
function settle(last: Waiter, outcome: StatusOutcome): void {
  for (let waiter: Waiter | undefined = last; waiter !== undefined; waiter = waiter.previous) {
    waiter.settle(outcome);
  }
}
