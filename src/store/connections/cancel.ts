import type { Connection } from "./connection.ts";

/** How long, in milliseconds, a cancelled statement may still hold its connection. */
export const cancelTimeout = 500;

/** What only PostgreSQL and the owner of a connection know: no other session can be hit by mistake. */
interface BackendKey {
  readonly processID: number;
  readonly secretKey: number;
}

/** What pg's connection does while it is being opened. */
interface StartingConnection {
  startup(): void;
  cancel(processID: number, secretKey: number): void;
}

/**
 * Asks the database to end the statement that runs on a connection. Done as the protocol says ("Canceling Requests in
 * Progress"), over a connection of its own, whose first message is the CancelRequest: poolers and load balancers
 * pass that on to the right backend, where a pid alone may be a stranger's.
 *
 * @param timeout in milliseconds.
 * @returns when the database has taken notice, or has not in time. Never rejects: whether it heeds is not said anyway.
 */
export async function cancelStatement(client: Connection, timeout: number): Promise<void> {
  const { processID, secretKey } = client as Connection & BackendKey;
  const control = client.another(timeout);
  const starting = control.connection as unknown as StartingConnection;
  starting.startup = () => starting.cancel(processID, secretKey);
  // The database answers by closing the connection, which pg takes for a failure to connect.
  await new Promise<void>((ended) => control.connect(() => ended()));
}
