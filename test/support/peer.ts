import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type Frame, flag, frame, frameReader, frameType } from "./http2-frames.ts";

/** A client on a bare socket, which sends any bytes. Disposing of it closes the socket. */
export interface Peer extends Disposable {
  readonly socket: Socket;
  /** Settles when the connection is closed, with all bytes that the server has sent. */
  readonly closed: Promise<Buffer>;
  /** The HTTP/2 frames received so far. */
  readonly frames: readonly Frame[];
  /** Waits for an HTTP/2 frame. @throws Error when the connection closes without it. */
  frame(matches: (frame: Frame) => boolean): Promise<Frame>;
  /** Waits for GOAWAY. @returns its error code. */
  goaway(): Promise<number>;
  send(bytes: Buffer | string): void;
  /** Sends HTTP/2 frames, and waits until the server has read them. */
  deliver(...frames: readonly Buffer[]): Promise<void>;
  /** Sends one byte more every `pause` milliseconds, until the connection is closed. */
  drip(bytes: Buffer | string, pause: number): void;
}

/** @param localAddress each address has about 28,000 ports to connect from: use others of 127/8 for more connections. */
export async function openPeer(port: number, localAddress = "127.0.0.1"): Promise<Peer> {
  const socket = connect({ port, host: "127.0.0.1", localAddress, noDelay: true });
  const chunks: Buffer[] = [];
  const frames: Frame[] = [];
  const read = frameReader();
  const closed = Promise.withResolvers<Buffer>();
  let checkFrames = () => {};
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    frames.push(...read(chunk));
    checkFrames();
  });
  // A connection that the server closes while the client sends is reset.
  socket.on("error", () => {});
  socket.once("close", () => closed.resolve(Buffer.concat(chunks)));
  await once(socket, "connect");
  let delivered = 0;

  async function awaitFrame(matches: (frame: Frame) => boolean): Promise<Frame> {
    const found = Promise.withResolvers<Frame>();
    checkFrames = () => {
      const frame = frames.find(matches);
      if (frame !== undefined) found.resolve(frame);
    };
    checkFrames();
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
