import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type Frame, flag, frame, frameReader, frameType } from "./http2-frames.ts";

/** A peer on a bare socket, which keeps to no protocol. Disposing of it closes the socket. */
export interface Peer extends Disposable {
  readonly socket: Socket;
  /** Settles when the server has closed the connection, with all that came from it. */
  readonly closed: Promise<Buffer>;
  /** The frames of HTTP/2 that have come. */
  readonly frames: readonly Frame[];
  /** Waits for a frame of HTTP/2. @throws Error when the connection closes without it. */
  frame(matches: (frame: Frame) => boolean): Promise<Frame>;
  /** Waits for GOAWAY. @returns its error code. */
  goaway(): Promise<number>;
  send(bytes: Buffer | string): void;
  /** Sends frames of HTTP/2, and waits until the server has read them. */
  deliver(...frames: readonly Buffer[]): Promise<void>;
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
  let delivered = 0;

  async function awaitFrame(matches: (frame: Frame) => boolean): Promise<Frame> {
    const found = Promise.withResolvers<Frame>();
    look = () => {
      const frame = frames.find(matches);
      if (frame !== undefined) found.resolve(frame);
    };
    look();
    void closed.promise.then(() => found.reject(new Error("the connection was closed without that frame")));
    return await found.promise;
  }

  return {
    socket,
    closed: closed.promise,
    frames,
    frame: awaitFrame,
    async goaway() {
      const { payload } = await awaitFrame(({ type }) => type === frameType.goaway);
      return payload.readUInt32BE(4);
    },
    send: (bytes) => void socket.write(bytes),
    async deliver(...frames) {
      const mark = Buffer.alloc(8);
      mark.writeUInt32BE(++delivered);
      socket.write(Buffer.concat([...frames, frame(frameType.ping, 0, 0, mark)]));
      await awaitFrame(
        ({ type, flags, payload }) => type === frameType.ping && flags === flag.ack && payload.equals(mark),
      );
    },
    drip(bytes, pause) {
      let at = 0;
      const timer = setInterval(() => socket.write(bytes.slice(at, ++at)), pause);
      socket.once("close", () => clearInterval(timer));
    },
    [Symbol.dispose]: () => socket.destroy(),
  };
}
