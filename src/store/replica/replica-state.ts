import type { CompiledQuery } from "kysely";
import type { Connections } from "../connections/connections.ts";
import { NotSent } from "../connections/not-sent.ts";
import type { Reader } from "../reads/reader.ts";
import type { Row } from "../reads/text-query.ts";
import { type Freshness, identityQuery, positionQuery } from "./freshness.ts";

/** Whether a replica serves, from what it answers to calls and to probes. Disposing of it ends the probes. */
export interface ReplicaState extends Disposable {
  /** Whether calls go to the replica now: the last probe was answered, and no call has found it unusable since. */
  readonly isServing: boolean;
  /** No call goes to it until it has answered a probe. @param cause for the log. */
  suspend(cause: unknown): void;
  /** Whether it serves and is within its bound; probes it when it is suspended. Never rejects. */
  becomesCurrent(): Promise<boolean>;
}

/** How many attempts to get an answer of the replica, each on another connection, follow at once when there is no primary. */
export const immediateAttempts = 4;

/** The longest, in milliseconds, that the primary may take to report its position. */
const longestPositionTimeout = 1_000;

interface ReplicaStateOptions {
  /** The bound, in milliseconds. */
  readonly maxStaleness: number;
  /** How often, in milliseconds, the primary is asked for its position and the replica is probed. */
  readonly interval: number;
  readonly freshness: Freshness;
  readonly primary: Reader;
  readonly replica: Reader;
  readonly replicaConnections: Connections;
  /** Called after the first probe and at each change. @param cause why it is suspended. Absent: it serves. */
  readonly onChange: (cause?: unknown) => void;
}

export function createReplicaState(options: ReplicaStateOptions): ReplicaState {
  const { maxStaleness, interval, freshness, primary, replica, replicaConnections, onChange } = options;
  /** Undefined until the first probe. */
  let suspended: boolean | undefined;
  let probing: Promise<void> | undefined;
  let positionFailure: Error | undefined;
  let disposed = false;
  let timer: NodeJS.Timeout | undefined;

  function settle(cause?: unknown): void {
    const before = suspended;
    suspended = cause !== undefined;
    if (suspended !== before && !disposed) onChange(cause);
  }

  async function recordPosition(): Promise<void> {
    const askedAt = performance.now();
    try {
      const [row] = await ask(primary, positionQuery, Math.min(maxStaleness, longestPositionTimeout));
      freshness.record(row, askedAt);
      positionFailure = undefined;
    } catch (cause) {
      positionFailure = new Error("the primary does not report its position", { cause });
    }
  }

  async function probeNow(): Promise<void> {
    try {
      const [row] = await ask(replica, identityQuery, interval, () => replicaConnections.areAwaited);
      freshness.checkIdentity(row);
      settle();
    } catch (error) {
      // While all connections of this service are in use, the probe has found nothing.
      if (!(error instanceof NotSent)) settle(positionFailure ?? error);
    } finally {
      probing = undefined;
    }
  }

  /** One at a time, whose outcome all callers share. */
  function probe(): Promise<void> {
    probing ??= probeNow();
    return probing;
  }

  async function watch(): Promise<void> {
    const due = performance.now() + interval;
    await recordPosition();
    // A replica that does not answer must not delay the next position.
    void probe();
    if (!disposed) timer = setTimeout(watch, Math.max(1, due - performance.now())).unref();
  }

  void watch();
  return {
    get isServing() {
      return suspended === false;
    },
    suspend: settle,
    async becomesCurrent() {
      const deadline = performance.now() + interval;
      for (let n = 0; suspended !== false && n < immediateAttempts && freshness.isWithinBound(); n++) {
        await probe();
        if (performance.now() > deadline) break;
      }
      return suspended === false && freshness.isWithinBound();
    },
    [Symbol.dispose]() {
      disposed = true;
      suspended = true;
      clearTimeout(timer);
    },
  };
}

export function noAnswer(timeout: number): Error {
  return new Error(`no answer within ${timeout} ms`);
}

/** @throws the driver's error; Error when there was no answer in time; NotSent when all connections were in use. */
async function ask(
  reader: Reader,
  query: CompiledQuery,
  timeout: number,
  areInUse = () => false,
): Promise<readonly Row[]> {
  const statement = reader.start(query);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    statement.cancel();
    late.reject(!statement.wasSent && areInUse() ? new NotSent() : noAnswer(timeout));
  }, timeout);
  try {
    return await Promise.race([statement.rows, late.promise]);
  } finally {
    clearTimeout(timer);
    reader.releaseConnections();
  }
}
