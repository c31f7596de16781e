import type { Call, Cancellable } from "../../status/call.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { StatusOutcome } from "../../status/status-store.ts";
import { Waiter, type WaitingList } from "./waiter.ts";

/**
 * The ids of one call, and what is known of them.
 *
 * It alone is attached to the call, and not each of its waiters: to attach and detach costs time in proportion to their
 * number.
 */
export class FindMany implements Cancellable {
  readonly call: Call;
  readonly #outcomes = new Map<ReqId, StatusOutcome>();
  readonly #waiters: ManyWaiter[] = [];
  readonly #answer = Promise.withResolvers<ReadonlyMap<ReqId, StatusOutcome>>();
  #unsettled: number;

  constructor(reqIds: readonly ReqId[], call: Call) {
    this.call = call;
    for (const reqId of reqIds) this.#outcomes.set(reqId, undefined);
    this.#unsettled = this.#outcomes.size;
    if (this.#unsettled === 0) this.#answer.resolve(this.#outcomes);
    else call.attach(this);
  }

  /** How many ids there are, each counted once. */
  get size(): number {
    return this.#outcomes.size;
  }

  /** The ids, each once, in the order in which they were given. */
  get reqIds(): Iterable<ReqId> {
    return this.#outcomes.keys();
  }

  /** Settles when each id has its outcome. Rejects with the reason with which the call is cancelled. */
  get answer(): Promise<ReadonlyMap<ReqId, StatusOutcome>> {
    return this.#answer.promise;
  }

  added(waiter: ManyWaiter): void {
    this.#waiters.push(waiter);
  }

  /** To be called once for each id. */
  settle(reqId: ReqId, outcome: StatusOutcome): void {
    this.#outcomes.set(reqId, outcome);
    this.#unsettled--;
    if (this.#unsettled > 0) return;
    this.call.detach(this);
    this.#answer.resolve(this.#outcomes);
  }

  cancel(reason: unknown): void {
    for (const waiter of this.#waiters) waiter.cancel();
    this.#answer.reject(reason);
  }
}

/** One of the ids of a call. */
export class ManyWaiter extends Waiter {
  readonly #many: FindMany;
  #isSettled = false;

  constructor(reqId: ReqId, many: FindMany, list: WaitingList, previous: Waiter | undefined) {
    super(reqId, many.call, list, previous);
    this.#many = many;
    many.added(this);
  }

  settle(outcome: StatusOutcome): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#many.settle(this.reqId, outcome);
  }

  cancel(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.remove();
  }
}
