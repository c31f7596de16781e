import type { Admission } from "../admission.ts";
import type { Call } from "../call.ts";
import type { ReqId } from "../req-id.ts";
import type { JobStatus } from "../status.ts";
import type { StatusStore } from "../status-store.ts";
import { createPoller } from "./poller.ts";
import { createReads } from "./reads.ts";
import { createWaits } from "./wait.ts";
import type { WatchEvent } from "./watch.ts";
import { WatchedIds } from "./watched-ids.ts";
import { createWatches, type WatchTimes } from "./watches.ts";
import type { WatchingMetrics } from "./watching-metrics.ts";

/** Lets calls wait for statuses to change. One poller reads the ids of all of them. */
export interface Watching extends Disposable {
  /**
   * Waits until the status of a request is final, or the wait is over: then it is read once more.
   *
   * A call that is cancelled because its connection goes away, or is to answer now, is answered with the status as it is.
   *
   * @param wait in milliseconds. It is shortened to the longest that is allowed, and to end before the call's deadline.
   * @returns undefined when there is no live status under this id.
   * @throws StatusError as {@link StatusStore.find} does; also `OVERLOADED` with a limit of held calls; the reason with which the
   *   call was cancelled.
   */
  wait(reqId: ReqId, wait: number, call: Call): Promise<JobStatus | undefined>;
  /**
   * The current status of each id, then its changes, until each is final or gone.
   *
   * @param reqIds an id that is given twice counts once.
   * @throws StatusError as the proto's WatchStatus says; the reason with which the call was cancelled.
   */
  watch(reqIds: readonly ReqId[], call: Call): AsyncIterable<WatchEvent>;
  /** Ends all that is waited for. @param within how long, in milliseconds, that is spread over: callers come back one by one. */
  drain(within: number): void;
}

export interface WatchingOptions {
  /** Of the calls that begin to wait, while their first read lasts. */
  readonly admission: Admission;
  /** The longest wait, in milliseconds. */
  readonly maxWait: number;
  /** How many different ids may be watched. */
  readonly maxWatched: number;
  /** The same, each id counted once for every call. */
  readonly maxWatchedPairs: number;
  /** The longest that one read may take, in milliseconds. */
  readonly requestTimeout: number;
  /** Absent: nothing is measured. */
  readonly metrics?: WatchingMetrics | undefined;
  /** Absent: those of the contract. */
  readonly times?: Partial<WatchTimes>;
}

export function createWatching(store: Pick<StatusStore, "poll">, options: WatchingOptions): Watching {
  const { admission, maxWait, requestTimeout, metrics, times } = options;
  const ids = new WatchedIds(options);
  metrics?.watchIds(() => ids.all.length);
  const reads = createReads(store, { admission, requestTimeout });
  const poller = createPoller(store, { ids, metrics, requestTimeout });
  const waits = createWaits({ ids, reads, poller, maxWait, metrics });
  const watches = createWatches({ ids, reads, poller, metrics, times });
  return {
    wait: waits.wait,
    watch: watches.watch,
    drain(within) {
      waits.drain(within);
      watches.drain(within);
    },
    [Symbol.dispose]() {
      watches[Symbol.dispose]();
      poller[Symbol.dispose]();
    },
  };
}
