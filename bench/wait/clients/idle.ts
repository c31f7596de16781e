import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { address } from "./connections.ts";

const batch = { size: 100, interval: 10 };

/** Opens keep-alive connections over HTTP/1.1 that have each made one plain call, and make no other. */
export async function openIdle(port: number, count: number, path: string): Promise<Disposable> {
  const sockets: Socket[] = [];
  const answered: Promise<unknown>[] = [];
  for (let index = 1; index <= count; index++) {
    const socket = connect({ host: address, port, noDelay: true });
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${address}:${port}\r\n\r\n`);
    sockets.push(socket);
    answered.push(once(socket, "data"));
    if (index % batch.size === 0) await pause(batch.interval);
  }
  await Promise.all(answered);
  return {
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
    },
  };
}
