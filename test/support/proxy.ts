import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** Stands between the service and its database, or several in turn, where a test can break the connection. */
export interface Proxy extends AsyncDisposable {
  /** The database's URL through the proxy. */
  readonly url: string;
  /** Closes every connection and refuses new ones. */
  cut(): void;
  /** Takes connections again, on the same port. */
  mend(): Promise<void>;
}

export async function startProxy(databaseUrl: string, ...others: readonly string[]): Promise<Proxy> {
  const upstreams = [databaseUrl, ...others].map((url) => new URL(url));
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const [upstream] = upstreams.splice(0, 1) as [URL];
    upstreams.push(upstream);
    const database = connect(Number(upstream.port), upstream.hostname);
    for (const [socket, other] of [
      [client, database],
      [database, client],
    ] as const) {
      sockets.add(socket);
      socket.pipe(other);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  const listenOn = async (port: number) => {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
  };
  await listenOn(0);
  const { port } = server.address() as AddressInfo;
  const url = new URL(databaseUrl);
  url.port = String(port);

  function cut(): void {
    server.close();
    for (const socket of sockets) socket.destroy();
  }

  return {
    url: url.href,
    cut,
    mend: () => listenOn(port),
    async [Symbol.asyncDispose]() {
      const closed = server.listening ? once(server, "close") : undefined;
      cut();
      await closed;
    },
  };
}
