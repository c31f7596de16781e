import { StatusError } from "../../status/errors.ts";
import { NotSent } from "../reads/reader.ts";
import { isConnectionLost } from "./connection-loss.ts";

/** Knows whether the database is gone, from what became of the statements. Times as `performance.now()` tells them. */
export interface Breaker {
  /** What to tell callers at once, without asking the database. Undefined while it is there. */
  readonly refusal: StatusError | undefined;
  /** A statement was sent. */
  sent(): void;
  /** The database has answered a statement, though no call may wait for that any more. That it cancelled one is no answer. */
  answered(): void;
  /** A statement that was begun at that time has failed for good. */
  failed(error: unknown, startedAt: number): void;
  /** Compares with the clock. To be called every few milliseconds while statements are under way. */
  check(now: number): void;
}

interface BreakerOptions {
  /** Asks the database, until the signal fires. Rejects with {@link NotSent} when it did not come to that. */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  /** Told when the database is gone, and why; told when it is back, with nothing. */
  readonly onChange: (cause: unknown) => void;
}

/** How long, in milliseconds, statements are left without any answer until the database is asked by a probe. */
const suspectAfter = 500;

/** Pauses between probes, in milliseconds, give or take a quarter: many instances should not ask in step. */
const probePauses = [50, 100, 200];
const longestProbePause = 250;
/** How long, in milliseconds, a probe may take. */
const probeTimeout = 1_000;
/** So many probes may be under way: what has swallowed one need not swallow the next, on another connection. */
const mostProbes = 4;

/**
 * While the database is known to be gone, callers hear so at once instead of waiting for what will not come, and the
 * database is spared their statements. It is gone when a connection could not be had, or failed twice in a row; and when
 * statements are left without an answer and a probe of the service's own is, too, for as long as the service gives one.
 * How long callers are ready to wait says nothing about the database, nor does an error of a statement. It is not gone
 * while other statements are answered, and the first answer of any kind brings it back.
 */
export function createBreaker({ probe, onChange }: BreakerOptions): Breaker & Disposable {
  let refusal: StatusError | undefined;
  let answeredAt = Number.NEGATIVE_INFINITY;
  /** When the first statement was sent to which there has been no answer, nor to any since. */
  let unansweredSince: number | undefined;
  let suspected = false;
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
    unansweredSince = undefined;
    if (refusal === undefined || disposed) return;
    refusal = undefined;
    clearTimeout(timer);
    onChange(undefined);
  }

  function probeSoon(): void {
    const pause = probePauses[probes++] ?? longestProbePause;
    timer = setTimeout(
      () => {
        probeSoon();
        if (probing < mostProbes) void probeNow();
      },
      pause * (0.75 + Math.random() / 2),
    ).unref();
  }

  /** @returns why the database is gone, if that is what the probe shows. */
  async function probeNow(): Promise<unknown> {
    const signal = AbortSignal.timeout(probeTimeout);
    probing++;
    try {
      await probe(signal);
      answered();
    } catch (error) {
      if (error instanceof NotSent) return undefined;
      if (signal.aborted || isConnectionLost(error)) return error;
      answered();
    } finally {
      probing--;
    }
    return undefined;
  }

  async function suspect(): Promise<void> {
    suspected = true;
    const askedAt = performance.now();
    const cause = await probeNow();
    suspected = false;
    if (cause !== undefined && answeredAt < askedAt) {
      open(new Error("the database answers neither statements nor a probe", { cause }));
    }
  }

  return {
    get refusal() {
      return refusal;
    },
    sent() {
      unansweredSince ??= performance.now();
    },
    answered,
    failed(error, startedAt) {
      if (!isConnectionLost(error)) answered();
      else if (startedAt > answeredAt) open(error);
    },
    check(now) {
      if (unansweredSince === undefined || now - unansweredSince < suspectAfter) return;
      if (!suspected && refusal === undefined && !disposed) void suspect();
    },
    [Symbol.dispose]() {
      disposed = true;
      clearTimeout(timer);
    },
  };
}
