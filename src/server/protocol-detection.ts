import type { Socket } from "node:net";
import type { Tls } from "./tls/tls.ts";

interface Detection {
  /** Undefined: the connection is not encrypted. */
  readonly tls: Tls | undefined;
  /** How long, in milliseconds from the first byte on, a client may take to send the bytes that identify its protocol. */
  readonly timeout: number;
  readonly onFirstByte: () => void;
  /** @param socket what carries HTTP: the connection, or TLS on it. */
  readonly onDetected: (socket: Socket, isHttp2: boolean) => void;
}

/** Finds out which version of HTTP a client speaks. A connection that closes or exceeds the timeout before is closed. */
export function detectProtocol(
  connection: Socket,
  { tls, timeout, onFirstByte, onDetected }: Detection,
): void {
  if (tls === undefined) {
    readFirstBytes(connection, timeout, onFirstByte, identifiesProtocol, (head) =>
      onDetected(connection, head.startsWith("PRI")),
    );
  } else {
    // The handshake's timeout begins with its first byte, and ALPN names the protocol.
    readFirstBytes(connection, timeout, onFirstByte, isAny, () => tls.accept(connection, onDetected));
  }
}

/** Node's allowHTTP1 works only under TLS, so the first bytes decide: an HTTP/2 client always opens with "PRI". */
function identifiesProtocol(head: string): boolean {
  return head.length >= 3 || !"PRI".startsWith(head);
}

function isAny(): boolean {
  return true;
}

/**
 * Reads a connection until its first bytes are enough.
 *
 * @param isEnough gets the bytes so far, in latin1.
 * @param onRead called once they are enough. The connection is paused then, and its bytes are still to be read.
 */
function readFirstBytes(
  socket: Socket,
  timeout: number,
  onFirstByte: () => void,
  isEnough: (head: string) => boolean,
  onRead: (head: string) => void,
): void {
  const chunks: Buffer[] = [];
  let head = "";
  let timer: NodeJS.Timeout | undefined;
  const close = () => void socket.destroy();
  const stop = () => {
    clearTimeout(timer);
    socket.off("data", read);
    socket.off("end", close);
    socket.off("close", stop);
    socket.off("error", stop);
  };
  const read = (chunk: Buffer) => {
    if (chunks.push(chunk) === 1) onFirstByte();
    head += chunk.toString("latin1", 0, 3);
    if (!isEnough(head)) {
      timer ??= setTimeout(close, timeout);
      return;
    }
    stop();
    // A flowing stream without a listener discards its data.
    socket.pause();
    socket.unshift(Buffer.concat(chunks));
    onRead(head);
  };
  socket.on("data", read);
  socket.once("end", close);
  socket.once("close", stop);
  // A connection that is reset before its first bytes have arrived is not an error of the service.
  socket.once("error", stop);
}
