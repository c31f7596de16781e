import { datastoreUnavailable, type StatusError } from "../../status/errors.ts";
import { isConnectionLost } from "./connection-loss.ts";
import { NotSent } from "./not-sent.ts";

/**
 * A circuit breaker: knows whether the database is unavailable, from what became of the statements. Times in milliseconds of
 * `performance.now()`.
 */
export interface Breaker {
  /** The error of calls while it is open: they fail at once, without asking the database. Undefined while it is closed. */
  readonly refusal: StatusError | undefined;
  /** A statement was sent. */
  sent(): void;
  /** The database has answered a statement, though no call may wait for that any more. That it cancelled one is no answer. */
  answered(): void;
  /** A statement that was begun at that time has failed, and is not retried. */
  failed(error: unknown, startedAt: number): void;
  /** Compares with the clock. To be called every few milliseconds while statements are in flight. */
  check(now: number): void;
}

interface BreakerOptions {
  /** Asks the database, until the signal fires. Rejects with NotSent when it could not be asked for want of a connection. */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  /** Called when the breaker opens, and when it closes. @param cause why it opened. Undefined: it has closed. */
  readonly onChange: (cause: unknown) => void;
}

/** After how many milliseconds without any answer to statements in flight a probe is sent. */
const suspectAfter = 500;

/** Pauses between probes, in milliseconds, give or take a quarter: many instances should not ask in step. */
const probePauses = [50, 100, 200];
const longestProbePause = 250;
/** How long, in milliseconds, a probe may take. */
const probeTimeout = 1_000;
/** How many probes may be in flight: what keeps one from being answered need not keep the next, on another connection. */
const maxProbes = 4;

/**
 * While the database is known to be unavailable, calls fail at once instead of waiting for their deadlines, and the database
 * is spared their statements. The breaker opens when a connection could not be opened, or was lost twice in a row; and when
 * statements are left without an answer and a probe is, too, until its timeout. Callers' deadlines tell nothing about the
 * database, nor does an error of a statement. It stays closed while other statements are answered, and the first answer of
 * any kind closes it.
 */
export function createBreaker({ probe, onChange }: BreakerOptions): Breaker & Disposable {
  let refusal: StatusError | undefined;
  let answeredAt = Number.NEGATIVE_INFINITY;
  /** When the first statement was sent to which there has been no answer, nor to any since. */
  let unansweredSince: number | undefined;
  let suspected = false;
  let probesSent = 0;
  let probesInFlight = 0;
  let timer: NodeJS.Timeout | undefined;
  let disposed = false;

  function open(cause: unknown): void {
    if (refusal !== undefined || disposed) return;
    refusal = datastoreUnavailable(cause);
    onChange(cause);
    probesSent = 0;
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
    const pause = probePauses[probesSent++] ?? longestProbePause;
    timer = setTimeout(
      () => {
        probeSoon();
        if (probesInFlight < maxProbes) void probeNow();
      },
      pause * (0.75 + Math.random() / 2),
    ).unref();
  }

  /** @returns why the database is unavailable, if that is what the probe shows. */
  async function probeNow(): Promise<unknown> {
    const signal = AbortSignal.timeout(probeTimeout);
    probesInFlight++;
    try {
      await probe(signal);
      answered();
    } catch (error) {
      if (error instanceof NotSent) return undefined;
      if (signal.aborted || isConnectionLost(error)) return error;
      answered();
    } finally {
      probesInFlight--;
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
