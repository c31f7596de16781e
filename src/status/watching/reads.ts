import { type Admission, weightOf } from "../admission.ts";
import { answerNow, Call, type Cancellable } from "../call.ts";
import { goingAway, overloaded, StatusError } from "../errors.ts";
import type { ReqId } from "../req-id.ts";
import type { PollOutcome, StatusStore } from "../status-store.ts";

/** How long before its deadline, in milliseconds, a call that has waited has to know what it answers. */
const timeForAnswer = 50;

/** The reads that calls which wait need for themselves, beside those of the poller. */
export interface Reads {
  /**
   * The read with which a call begins to wait. It is admitted, or shed, as other calls are.
   *
   * @throws StatusError `OVERLOADED`; the reason with which the call was cancelled.
   */
  first(reqIds: readonly ReqId[], call: Call): Promise<ReadonlyMap<ReqId, PollOutcome>>;
  /** Another read, which is never shed. @throws the reason with which the call was cancelled. */
  another(reqIds: readonly ReqId[], call: Call): Promise<ReadonlyMap<ReqId, PollOutcome>>;
}

interface ReadsOptions {
  readonly admission: Admission;
  /** The longest that one read may take, in milliseconds. */
  readonly requestTimeout: number;
}

export function createReads(
  store: Pick<StatusStore, "poll">,
  { admission, requestTimeout }: ReadsOptions,
): Reads {
  async function read(
    reqIds: readonly ReqId[],
    call: Call,
    deadline: number,
  ): Promise<ReadonlyMap<ReqId, PollOutcome>> {
    const reading = new Reading(new Call(Math.min(deadline, performance.now() + requestTimeout)));
    if (!call.cancelled) call.attach(reading);
    try {
      return await store.poll(reqIds, reading.call);
    } finally {
      call.detach(reading);
    }
  }

  return {
    async first(reqIds, call) {
      const weight = weightOf(reqIds.length);
      const isBatch = weight > 1;
      const limit = admission.enter(weight, isBatch);
      if (limit !== undefined) {
        call.heldOutcome = limit;
        throw overloaded(limit);
      }
      try {
        return await read(reqIds, call, call.deadline);
      } finally {
        admission.leave(weight, isBatch);
      }
    },
    another: (reqIds, call) => read(reqIds, call, call.deadline - timeForAnswer),
  };
}

/** A read of a call. A call that is to be answered now needs it none the less. */
class Reading implements Cancellable {
  readonly call: Call;

  constructor(call: Call) {
    this.call = call;
  }

  cancel(reason: unknown): void {
    if (reason !== answerNow && reason !== goingAway) this.call.cancel(reason);
  }
}

/** Whether the outcome is that the database, or this service, could not read: another read may. */
export function isUnread(outcome: PollOutcome): outcome is StatusError {
  return outcome instanceof StatusError && outcome.reason !== "STATUS_UNREADABLE";
}
