import type { Socket } from "node:net";

interface FirstBytes {
  /** How long, in milliseconds from the first byte on, the bytes that decide may take. */
  readonly timeout: number;
  /** Called when the first byte has come. */
  readonly heard: () => void;
  /** @param head the bytes so far, in latin1. @returns whether they decide what is spoken. */
  readonly decides: (head: string) => boolean;
  /** Called once they do. The connection is paused then, and they are still to be read. */
  readonly decided: (head: string) => void;
}

/** Reads the first bytes of a connection. One that ends before they decide, or takes too long for them, is closed. */
export function readFirstBytes(socket: Socket, { timeout, heard, decides, decided }: FirstBytes): void {
  const chunks: Buffer[] = [];
  let head = "";
  let late: NodeJS.Timeout | undefined;
  const drop = () => void socket.destroy();
  const stop = () => {
    clearTimeout(late);
    socket.off("data", read);
    socket.off("end", drop);
    socket.off("close", stop);
    socket.off("error", stop);
  };
  const read = (chunk: Buffer) => {
    if (chunks.push(chunk) === 1) heard();
    head += chunk.toString("latin1", 0, 3);
    if (!decides(head)) {
      late ??= setTimeout(drop, timeout);
      return;
    }
    stop();
    // What flows while nobody listens is lost.
    socket.pause();
    socket.unshift(Buffer.concat(chunks));
    decided(head);
  };
  socket.on("data", read);
  socket.once("end", drop);
  socket.once("close", stop);
  // A connection that is reset before its first bytes have come is not an error of the service.
  socket.once("error", stop);
}
