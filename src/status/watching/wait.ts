import { answerNow, type Call, type Cancellable } from "../call.ts";
import { datastoreUnavailable, goingAway, StatusError } from "../errors.ts";
import { LinkedList } from "../linked-list.ts";
import type { ReqId } from "../req-id.ts";
import type { JobStatus } from "../status.ts";
import type { PolledStatus } from "../status-store.ts";
import { dueAfter, type Poller } from "./poller.ts";
import { isFinal, isNews } from "./progress.ts";
import { isUnread, type Reads } from "./reads.ts";
import type { WatchedIds, Watcher } from "./watched-ids.ts";
import type { WatchingMetrics } from "./watching-metrics.ts";

/** What a wait leaves of its caller's deadline, for its last read and for the answer: a share, and the least in milliseconds. */
const shareForAnswer = 0.05;
const leastForAnswer = 100;

/** The share of a wait that is left out at random: callers that began together do not end together. */
const jitter = 0.02;

/**
 * Waits end at multiples of this, in milliseconds, or of the jitter of shorter ones: those that end together share a statement,
 * and so do those with which their callers come back. A long poll takes half of the CPU for that.
 */
const longestStep = 100;

/** How old, in milliseconds, a status may be that is answered when the last read fails. */
const longestAge = 1_000;

/** Calls that wait for one status each. */
export interface Waits {
  /** As `Watching.wait`. */
  wait(reqId: ReqId, wait: number, call: Call): Promise<JobStatus | undefined>;
  /** As `Watching.drain`. */
  drain(within: number): void;
}

interface WaitsOptions {
  readonly ids: WatchedIds;
  readonly reads: Reads;
  readonly poller: Pick<Poller, "wake">;
  readonly maxWait: number;
  readonly metrics: WatchingMetrics | undefined;
}

export function createWaits({ ids, reads, poller, maxWait, metrics }: WaitsOptions): Waits {
  const all = new LinkedList<Wait>();
  let isDraining = false;

  /** The last read of a wait. @param before what was read last, and when. */
  async function readLast(
    reqId: ReqId,
    call: Call,
    before: { readonly status: PolledStatus; readonly readAt: number },
  ): Promise<JobStatus | undefined> {
    const outcome = (await reads.another([reqId], call)).get(reqId);
    if (outcome === undefined) return undefined;
    if (!(outcome instanceof StatusError)) return isNews(outcome, before.status) ? outcome : before.status;
    if (!isUnread(outcome)) throw outcome;
    if (performance.now() - before.readAt < longestAge) return before.status;
    throw outcome.reason === "DATASTORE_UNAVAILABLE" ? outcome : datastoreUnavailable(outcome);
  }

  return {
    async wait(reqId, longest, call) {
      const end = endOf(call, Math.min(longest, maxWait));
      ids.requireRoom([reqId], call);
      const first = (await reads.first([reqId], call)).get(reqId);
      const firstReadAt = performance.now();
      if (first instanceof StatusError) throw first;
      if (first === undefined || isFinal(first)) {
        call.heldOutcome = first === undefined ? "gone" : "final";
        return first;
      }
      const left = end - firstReadAt;
      if (call.cancelled || isDraining || left <= 0) {
        call.heldOutcome = isDraining || call.reason === goingAway ? "drained" : "time over";
        return first;
      }
      ids.requireRoom([reqId], call);

      const wait = new Wait(call);
      const inAll = all.add(wait);
      const subscription = ids.watch(reqId, wait, dueAfter(first, firstReadAt));
      poller.wake();
      const timer = setTimeout(endInTime, left, wait);
      let ended: Ending;
      try {
        ended = await wait.ended;
      } finally {
        clearTimeout(timer);
        inAll.remove();
        subscription.cancel();
      }
      if (typeof ended === "object") {
        const { status, readAt } = ended;
        if (status !== undefined) metrics?.written(status.sinceUpdate + performance.now() - readAt);
        call.heldOutcome = status === undefined ? "gone" : "final";
        return status;
      }
      const readAt = subscription.id.readAt ?? firstReadAt;
      const last = await readLast(reqId, call, { status: wait.last ?? first, readAt });
      call.heldOutcome = ended;
      return last;
    },
    drain(within) {
      isDraining = true;
      for (const wait of all.toArray()) setTimeout(() => wait.end("drained"), within * Math.random()).unref();
    },
  };
}

function endInTime(wait: Wait): void {
  wait.end("time over");
}

/** @returns when a wait is over, in milliseconds of `performance.now()`. */
function endOf({ arrivedAt, deadline }: Call, longest: number): number {
  const allowed = deadline - arrivedAt;
  const inTime = Math.min(allowed * (1 - shareForAnswer), allowed - leastForAnswer);
  const wait = Math.min(longest, inTime);
  const end = arrivedAt + wait * (1 - jitter * Math.random());
  return wait > 0 ? end - (end % Math.min(longestStep, jitter * wait)) : end;
}

/** How a wait ended: with a status that is final, with none, or as it was. */
type Ending =
  | { readonly status: PolledStatus | undefined; readonly readAt: number }
  | "time over"
  | "drained"
  | "cancelled";

class Wait implements Watcher, Cancellable {
  readonly caller: string | undefined;
  /** The last status that was not final. */
  last: PolledStatus | undefined;
  readonly #call: Call;
  readonly #ended = Promise.withResolvers<Ending>();

  constructor(call: Call) {
    this.caller = call.caller;
    this.#call = call;
    call.attach(this);
  }

  /** Rejects with the reason of a call whose caller waits for no answer any more. */
  get ended(): Promise<Ending> {
    return this.#ended.promise;
  }

  read(status: PolledStatus | undefined, readAt: number): void {
    if (status === undefined || isFinal(status)) {
      this.#call.detach(this);
      this.#ended.resolve({ status, readAt });
    } else if (isNews(status, this.last)) this.last = status;
  }

  /** The last read may find it readable. */
  unreadable(): void {}

  end(ending: "time over" | "drained"): void {
    this.#call.detach(this);
    this.#ended.resolve(ending);
  }

  cancel(reason: unknown): void {
    if (reason === goingAway) this.#ended.resolve("drained");
    else if (reason === answerNow) this.#ended.resolve("cancelled");
    else this.#ended.reject(reason);
  }
}
