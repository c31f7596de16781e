import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type Frame, frameReader } from "./http2-frames.ts";

/** A peer on a bare socket, which keeps to no protocol. Disposing of it closes the socket. */
export interface Peer extends Disposable {
  readonly socket: Socket;
  /** Settles when the server has closed the connection, with all that came from it. */
  readonly closed: Promise<Buffer>;
  /** Waits for a frame of HTTP/2. @throws Error when the connection closes without it. */
  frame(matches: (frame: Frame) => boolean): Promise<Frame>;
  send(bytes: Buffer | string): void;
  /** Sends byte by byte, over and over, until the connection is closed. */
  drip(bytes: Buffer | string, pause: number): void;
}

/** @param localAddress one address has some 28,000 ports to connect from: take others of 127/8 for more. */
export async function openPeer(port: number, localAddress = "127.0.0.1"): Promise<Peer> {
  const socket = connect({ port, host: "127.0.0.1", localAddress, noDelay: true });
  const chunks: Buffer[] = [];
  const frames: Frame[] = [];
  const read = frameReader();
  const closed = Promise.withResolvers<Buffer>();
  let look = () => {};
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    frames.push(...read(chunk));
    look();
  });
  // Who is cut off while it sends gets a reset.
  socket.on("error", () => {});
  socket.once("close", () => closed.resolve(Buffer.concat(chunks)));
  await once(socket, "connect");

  return {
    socket,
    closed: closed.promise,
    async frame(matches) {
      const found = Promise.withResolvers<Frame>();
      look = () => {
        const frame = frames.find(matches);
        if (frame !== undefined) found.resolve(frame);
      };
      look();
      void closed.promise.then(() => found.reject(new Error("the connection was closed without that frame")));
      return await found.promise;
    },
    send: (bytes) => void socket.write(bytes),
    drip(bytes, pause) {
      let at = 0;
      const timer = setInterval(() => socket.write(bytes.slice(at, ++at)), pause);
      socket.once("close", () => clearInterval(timer));
    },
    [Symbol.dispose]: () => socket.destroy(),
  };
}
