import type { Connection } from "./connection.ts";

/** Replaces connections that are to be used no longer. Disposing of it replaces no more. */
export interface Renewal extends Disposable {
  /** Connections to replace, as soon as that can be. */
  add(connections: Iterable<Connection>): void;
}

/** How long, in milliseconds, it waits after a connection could not be replaced. */
const retryPause = 1_000;

/**
 * One after the other: the server is not asked for many at a time, and calls keep the others meanwhile.
 *
 * @param replace opens another one, and then retires the old one. Rejects when none can be opened: the old one stays in use,
 *   and is replaced later.
 * @param onFailed called when none could be opened, once until one could be.
 */
export function createRenewal(
  replace: (connection: Connection) => Promise<void>,
  onFailed: (error: unknown) => void,
): Renewal {
  const due = new Set<Connection>();
  let isReplacing = false;
  let hasFailed = false;
  let isDisposed = false;
  let timer: NodeJS.Timeout | undefined;

  async function replaceAll(): Promise<void> {
    if (isReplacing) return;
    isReplacing = true;
    clearTimeout(timer);
    for (const connection of due) {
      if (isDisposed) break;
      if (connection.isUsable) {
        try {
          await replace(connection);
          hasFailed = false;
        } catch (error) {
          if (isDisposed) break;
          if (!hasFailed) onFailed(error);
          hasFailed = true;
          timer = setTimeout(replaceAll, retryPause).unref();
          break;
        }
      }
      due.delete(connection);
    }
    isReplacing = false;
  }

  return {
    add(connections) {
      for (const connection of connections) due.add(connection);
      void replaceAll();
    },
    [Symbol.dispose]() {
      isDisposed = true;
      clearTimeout(timer);
    },
  };
}
