import type { Connection } from "./connection.ts";
import { internalsOf } from "./pg-internals.ts";

/** How long, in milliseconds, a cancelled statement may still hold its connection. */
export const cancelTimeout = 500;

/**
 * Asks the database to end the statement that runs on a connection. Done as the protocol says ("Canceling Requests in
 * Progress"), over a connection of its own, whose first message is the CancelRequest: poolers and load balancers pass that
 * on to the right backend, where a pid alone may be another's. Only PostgreSQL and this connection know the secret key, so
 * that no other session can be hit by mistake.
 *
 * @param timeout in milliseconds.
 * @returns when the database has taken notice, or has not in time. Never rejects: the protocol does not tell whether the
 *   statement was ended.
 */
export async function cancelStatement(client: Connection, timeout: number): Promise<void> {
  const { processID, secretKey } = internalsOf(client);
  const control = client.duplicate(timeout);
  const { connection } = internalsOf(control);
  connection.startup = () => connection.cancel(processID, secretKey);
  // The database answers by closing the connection, which pg takes for a failure to connect.
  await new Promise<void>((ended) => control.connect(() => ended()));
}
