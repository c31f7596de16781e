import type { Call, Cancellable } from "../../status/call.ts";
import { deadlineExceeded, StatusError } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { StatusOutcome } from "../../status/status-store.ts";

/** Knows the last waiter of each id. */
export interface WaitingList {
  /** The last waiter of an id is removed. @param previous the one before it, which still waits. */
  remove(reqId: ReqId, previous: Waiter | undefined): void;
}

/** Waits for the status of one id. The waiters of one id are a linked list: to remove one of thousands costs the same as of two. */
export abstract class Waiter {
  readonly reqId: ReqId;
  readonly call: Call;
  list: WaitingList;
  previous: Waiter | undefined;
  #next: Waiter | undefined;

  constructor(reqId: ReqId, call: Call, list: WaitingList, previous: Waiter | undefined) {
    this.reqId = reqId;
    this.call = call;
    this.list = list;
    this.previous = previous;
    if (previous !== undefined) previous.#next = this;
  }

  /** Only the first outcome counts. */
  abstract settle(outcome: StatusOutcome): void;

  /** The call's deadline has passed. */
  expire(): void {
    this.remove();
    this.settle(deadlineExceeded());
  }

  /** Takes it out of its list before its outcome is known. */
  remove(): void {
    const { previous } = this;
    if (previous !== undefined) previous.#next = this.#next;
    if (this.#next === undefined) this.list.remove(this.reqId, previous);
    else this.#next.previous = previous;
  }
}

/** The one id of a call. */
export class FindWaiter extends Waiter implements Cancellable {
  readonly answer = Promise.withResolvers<JobStatus | undefined>();

  settle(outcome: StatusOutcome): void {
    this.call.detach(this);
    if (outcome instanceof StatusError) this.answer.reject(outcome);
    else this.answer.resolve(outcome);
  }

  cancel(reason: unknown): void {
    this.remove();
    this.answer.reject(reason);
  }
}
