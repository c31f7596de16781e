import type { Connections } from "./connections.ts";
import type { Http1Server } from "./http1/server.ts";
import type { Http2Server } from "./http2/server.ts";

interface Draining {
  readonly http1: Http1Server;
  readonly http2: Http2Server;
  readonly connections: Connections;
  /** How long, in milliseconds, the calls in progress may take. */
  readonly timeout: number;
}

/** Takes no new connections, lets the calls in progress finish, and resolves when every connection is closed. */
export async function drain({ http1, http2, connections, timeout }: Draining): Promise<void> {
  const closed = http1.drain();
  http2.drain();
  connections.closeNew();
  const timer = setTimeout(connections.closeAll, timeout);
  await closed;
  clearTimeout(timer);
}
