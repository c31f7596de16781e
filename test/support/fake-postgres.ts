import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Certificate } from "./certificates.ts";
import { int32, message } from "./postgres-messages.ts";

/** A server that sends scripted PostgreSQL messages, and records what its clients send. */
export interface FakePostgres extends AsyncDisposable {
  readonly port: number;
  /** What clients sent after their startup message: passwords, for example. */
  readonly received: string;
  /** How many clients have connected. */
  readonly clients: number;
  /** Settles when the first client has disconnected. */
  readonly disconnected: Promise<void>;
}

/** The messages of a server ("Message Formats" in PostgreSQL's documentation). */
export const serverMessages = {
  cleartext: message("R", int32(3)).bytes,
  md5: message("R", int32(5), Buffer.from("salt")).bytes,
  sasl: (...mechanisms: string[]) => message("R", int32(10), ...mechanisms, "").bytes,
  error: (code: string) => message("E", "SFATAL", "VFATAL", `C${code}`, "Mno", "").bytes,
  welcome: Buffer.concat([message("R", int32(0)).bytes, message("Z", Buffer.from("I")).bytes]),
};

/**
 * @param answers the first is sent after the startup message, each other one after a further message of the client.
 * @param certificate for TLS. Absent: the server does not support TLS.
 */
export async function startFakePostgres(
  answers: readonly Buffer[],
  certificate?: Certificate,
): Promise<FakePostgres> {
  let received = "";
  let clients = 0;
  const disconnected = Promise.withResolvers<void>();
  const sockets = new Set<Socket>();

  function converse(stream: Socket): void {
    const left = [...answers];
    stream.once("data", () => {
      stream.on("data", (chunk: Buffer) => {
        received += chunk.toString("latin1");
        const next = left.shift();
        if (next !== undefined) stream.write(next);
      });
      stream.write(left.shift() ?? "");
    });
  }

  const server = createServer((socket) => {
    clients++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => disconnected.resolve());
    if (certificate === undefined) {
      converse(socket);
      return;
    }
    socket.once("data", () => {
      socket.write("S");
      const secure = new TLSSocket(socket, { isServer: true, ...certificate });
      secure.on("error", () => {});
      converse(secure);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get received() {
      return received;
    },
    get clients() {
      return clients;
    },
    disconnected: disconnected.promise,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await once(server.close(), "close");
    },
  };
}
