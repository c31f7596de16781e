import { constants } from "node:os";

/** A closed terminal sends SIGHUP, and Ctrl-\ at a terminal SIGQUIT; supervisors send one as well as the other. */
const stopSignals = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

/** A signal of the same key press: npm, which gets the terminal's Ctrl-C as we do, passes its copy on. In milliseconds. */
const samePress = 250;

/**
 * Fires at the first SIGTERM, SIGINT, SIGHUP or SIGQUIT; the reason names it. A second one ends the process at once, with
 * exit code 128 + its number. `nohup` changes nothing: when Node starts, it takes back that SIGHUP is ignored.
 */
export function stopSignal(): AbortSignal {
  const stopping = new AbortController();
  let pressedAt = Number.NEGATIVE_INFINITY;
  for (const name of stopSignals) {
    process.on(name, () => {
      const now = performance.now();
      if (!stopping.signal.aborted) stopping.abort(new Error(`stopped by ${name}`));
      else if (now - pressedAt > samePress) process.exit(128 + constants.signals[name]);
      pressedAt = now;
    });
  }
  return stopping.signal;
}

/** Settles when a signal fires, or at once when it has fired. */
export async function untilAborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
}
