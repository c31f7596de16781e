import type { Log } from "./log.ts";

/** @returns counts a client connection that is closed because of a limit. The count is logged once a second at most. */
export function logDroppedConnections(log: Log): () => void {
  let count = 0;

  function endSecond(): void {
    log.warn({ count }, "connections were closed: MAX_CONNECTIONS or ulimit -n is reached");
    count = 0;
  }

  return () => {
    if (count === 0) setTimeout(endSecond, 1_000).unref();
    count++;
  };
}
