/**
 * A hostile client that repeats one attack until its process is ended: `node bench/hostile.ts <port> <attack>`. Writes a line
 * when it begins. With port 0 it attacks a server of its own: that shows what the attack costs the honest callers, who
 * share the client's CPU, without the service's part.
 */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { openPeer } from "../test/support/peer.ts";
import { attacks } from "./overload/attacks.ts";

const [, , portText, name = ""] = process.argv;
const port = portText === "0" ? await startOwnServer() : Number(portText);
/** The connections of an attack that keeps them open. */
const openConnections = 2_000;
/** Between two connections of an attack, in milliseconds. */
const interval = 200;

const attack = attacks[name];
if (attack === undefined) throw new Error(`there is no attack ${name}`);
const pieces = attack.pieces();

async function connect() {
  const peer = await openPeer(port);
  if (attack?.readsNothing) peer.socket.pause();
  for (const piece of pieces) peer.send(Buffer.from(piece));
  return peer;
}

for (let count = 0; attack.keepsOpen && count < openConnections; count++) await connect();
process.stdout.write("ready\n");
for (;;) {
  if (!attack.keepsOpen) {
    const peer = await connect();
    await Promise.race([peer.closed, pause(5 * interval)]);
    peer.socket.destroy();
  }
  await pause(interval);
}

/** Closes a connection that has sent much, as the service does, and sends no answers. @returns its port. */
async function startOwnServer(): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => {
      if (socket.bytesRead > 16_384) socket.destroy();
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}
