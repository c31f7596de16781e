import { StatusError } from "../status/status.ts";
import { isConnectionLost } from "./pool.ts";

/** Knows whether the database is gone, from what became of the statements. Times as `performance.now()` tells them. */
export interface Breaker {
  /** What to tell callers at once, without asking the database. Undefined while it is there. */
  readonly refusal: StatusError | undefined;
  /** A statement was answered. */
  answered(): void;
  /** A statement that was begun at that time has failed for good. */
  failed(error: unknown, startedAt: number): void;
  /** Nobody waits any more for a statement that was begun at that time. */
  abandoned(startedAt: number): void;
}

interface BreakerOptions {
  /** Asks the database, until the signal fires. */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  /** Told when the database is gone, and why; told when it is back, with nothing. */
  readonly onChange: (cause: unknown) => void;
}

/**
 * So long, in milliseconds and taken together, have statements waited in vain, one after the other, when the database
 * is taken for stalled. So many they are at least: one may just be slow.
 */
const stallAfter = 2_000;
const stalledStatements = 2;

/** Pauses between probes, in milliseconds, give or take a quarter: many instances should not ask in step. */
const probePauses = [50, 100, 200];
const longestProbePause = 250;
/** How long, in milliseconds, a probe may take. */
const probeTimeout = 1_000;
/** So many probes may be under way: what has swallowed one need not swallow the next, on another connection. */
const mostProbes = 4;

/**
 * While the database is known to be gone, callers hear so at once instead of waiting for what will not come, and the
 * database is spared their statements. It is gone when a connection could not be had, or failed twice in a row, or
 * when nothing is answered any more; never while others are answered, and never for an error of a statement. The
 * first answer of any kind brings it back.
 */
export function createBreaker({ probe, onChange }: BreakerOptions): Breaker & Disposable {
  let refusal: StatusError | undefined;
  let answeredAt = Number.NEGATIVE_INFINITY;
  let abandoned = 0;
  let waitedInVain = 0;
  let probes = 0;
  let probing = 0;
  let timer: NodeJS.Timeout | undefined;
  let disposed = false;

  function open(cause: unknown): void {
    if (refusal !== undefined || disposed) return;
    refusal = new StatusError("DATASTORE_UNAVAILABLE", "the status could not be read (try again)", { cause });
    onChange(cause);
    probes = 0;
    probeSoon();
  }

  function answered(): void {
    answeredAt = performance.now();
    abandoned = 0;
    waitedInVain = 0;
    if (refusal === undefined || disposed) return;
    refusal = undefined;
    clearTimeout(timer);
    onChange(undefined);
  }

  function probeSoon(): void {
    const pause = probePauses[probes++] ?? longestProbePause;
    timer = setTimeout(probeNow, pause * (0.75 + Math.random() / 2)).unref();
  }

  async function probeNow(): Promise<void> {
    probeSoon();
    if (probing >= mostProbes) return;
    const signal = AbortSignal.timeout(probeTimeout);
    probing++;
    try {
      await probe(signal);
      answered();
    } catch (error) {
      if (!signal.aborted && !isConnectionLost(error)) answered();
    } finally {
      probing--;
    }
  }

  return {
    get refusal() {
      return refusal;
    },
    answered,
    failed(error, startedAt) {
      if (!isConnectionLost(error)) answered();
      else if (startedAt > answeredAt) open(error);
    },
    abandoned(startedAt) {
      if (startedAt <= answeredAt) return;
      abandoned++;
      waitedInVain += performance.now() - startedAt;
      if (abandoned < stalledStatements || waitedInVain < stallAfter) return;
      open(new Error(`the database left ${abandoned} statements in a row without an answer`));
    },
    [Symbol.dispose]() {
      disposed = true;
      clearTimeout(timer);
    },
  };
}
