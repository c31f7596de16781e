import { constants } from "node:os";

/** A closed terminal sends SIGHUP, Ctrl-\ at a terminal SIGQUIT, and supervisors send any of them. */
const signals = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

/**
 * Signals within this time, in milliseconds, count as one: a Ctrl-C reaches the service from the terminal and again from
 * npm, which forwards its own.
 */
const sameKeyPress = 250;

/**
 * Handles the signals that terminate a process. `nohup` has no effect: Node resets at its start that SIGHUP is ignored.
 *
 * @returns a signal that fires at the first of them; its reason names it. The second ends the process at once, with exit
 *   code 128 + its number.
 */
export function terminationSignal(): AbortSignal {
  const terminating = new AbortController();
  let receivedAt = Number.NEGATIVE_INFINITY;
  for (const name of signals) {
    process.on(name, () => {
      const now = performance.now();
      if (!terminating.signal.aborted) terminating.abort(new Error(`stopped by ${name}`));
      else if (now - receivedAt > sameKeyPress) process.exit(128 + constants.signals[name]);
      receivedAt = now;
    });
  }
  return terminating.signal;
}
