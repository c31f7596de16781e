import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { createDeallocation, type Deallocation } from "./deallocation.ts";

/** What the proxy does with the bytes. `reset` and `close` also end the open connections. */
export type Disturbance =
  | "none"
  | "stall"
  | "reset"
  | "close"
  /** Has the database run `DEALLOCATE ALL` before each statement, as a pooler may between two transactions. */
  | "deallocate"
  | { readonly delay: number }
  /** Changes what a side sends, in place. */
  | { readonly corrupt: (chunk: Buffer, from: "service" | "database") => void };

/** A TCP proxy between the service and its database, or several databases in turn, through which a test breaks connections. */
export interface Proxy extends AsyncDisposable {
  /** The database's URL through the proxy. */
  readonly url: string;
  /** The number of open connections. */
  readonly connections: number;
  /** Closes every connection and refuses new ones. */
  cut(): void;
  /** Accepts connections again on the same port. */
  mend(): Promise<void>;
  /** Applies to open connections and to new ones. */
  disturb(disturbance: Disturbance): void;
  /** New connections go to this database. */
  redirect(databaseUrl: string): void;
}

export async function startProxy(databaseUrl: string, ...others: readonly string[]): Promise<Proxy> {
  const upstreams = [databaseUrl, ...others].map((url) => new URL(url));
  let disturbance: Disturbance = "none";
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const [upstream] = upstreams.splice(0, 1) as [URL];
    upstreams.push(upstream);
    const database = connect(Number(upstream.port), upstream.hostname);
    const deallocation = createDeallocation();
    forward(client, database, "service", deallocation);
    forward(database, client, "database", deallocation);
    apply(client);
  });

  function forward(from: Socket, to: Socket, side: "service" | "database", deallocation: Deallocation): void {
    sockets.add(from);
    if (disturbance === "stall") from.pause();
    // Chunks that arrive after the delay has ended must not overtake delayed ones.
    let delayed = Promise.resolve();
    let waiting = 0;
    from.on("data", (read: Buffer) => {
      const chunk = side === "service" && disturbance !== "deallocate" ? read : deallocation[side](read);
      if (typeof disturbance === "object" && "corrupt" in disturbance) disturbance.corrupt(chunk, side);
      const delay = typeof disturbance === "object" && "delay" in disturbance ? disturbance.delay : 0;
      if (delay === 0 && waiting === 0) {
        to.write(chunk);
        return;
      }
      waiting++;
      const passed = pause(delay);
      delayed = delayed
        .then(() => passed)
        .then(() => {
          waiting--;
          to.write(chunk);
        });
    });
    from.on("end", () => to.end());
    from.on("error", () => {});
    from.on("close", () => {
      sockets.delete(from);
      to.destroy();
    });
  }

  function apply(socket: Socket): void {
    if (disturbance === "reset") socket.resetAndDestroy();
    else if (disturbance === "close") socket.destroy();
    else if (disturbance === "stall") socket.pause();
    else socket.resume();
  }

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
    get connections() {
      return sockets.size / 2;
    },
    cut,
    mend: () => listenOn(port),
    disturb(next) {
      disturbance = next;
      for (const socket of sockets) apply(socket);
    },
    redirect(next) {
      upstreams.splice(0, upstreams.length, new URL(next));
    },
    async [Symbol.asyncDispose]() {
      const closed = server.listening ? once(server, "close") : undefined;
      cut();
      await closed;
    },
  };
}
