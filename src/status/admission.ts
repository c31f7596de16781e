export interface AdmissionOptions {
  /** Calls that are answered at the same time, over all protocols. */
  readonly maxInFlight: number;
  /** Calls that are taken up in one turn of the event loop, unless a burst brings more. */
  readonly maxPerTurn: number;
}

/** Decides which calls are answered and which are shed, before any work. */
export interface Admission {
  /** @returns false when the call is to be shed. A call that has entered must leave. */
  enter(): boolean;
  leave(): void;
}

/** How long, in milliseconds, turns may bring too many calls. A burst has passed by then; what has not is overload. */
const longestBurst = 100;

/** How long, in milliseconds, no turn may have brought too many calls until the next that does is a burst again. */
const calm = 250;

/**
 * Two queues make answers late, and each has its bound. Calls that wait for the database are in flight. Calls that
 * wait for us wait on their connections, where nobody counts them; but the event loop reads all connections in each
 * of its turns, so that as many come in one turn as have waited during the turn before.
 */
export function createAdmission({ maxInFlight, maxPerTurn }: AdmissionOptions): Admission {
  let inFlight = 0;
  let thisTurn = 0;
  let tooManySince = 0;
  let tooManyLast = Number.NEGATIVE_INFINITY;

  function endTurn(): void {
    thisTurn = 0;
  }

  function isBurst(): boolean {
    const now = performance.now();
    if (now - tooManyLast > calm) tooManySince = now;
    tooManyLast = now;
    return now - tooManySince <= longestBurst;
  }

  return {
    enter() {
      if (inFlight >= maxInFlight) return false;
      if (thisTurn >= maxPerTurn && !isBurst()) return false;
      if (thisTurn++ === 0) setImmediate(endTurn);
      inFlight++;
      return true;
    },
    leave() {
      inFlight--;
    },
  };
}
