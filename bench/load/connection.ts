import { connect, type Socket } from "node:net";

/** One connection of the load generator: makes calls for rows, and checks that each gets exactly its row's answer. */
export interface Connection {
  /** @param due when the call was scheduled, in milliseconds of `performance.now()`. The events repeat it. */
  call(row: number, due: number): void;
  /** Sends the calls since the last flush. */
  flush(): void;
  close(): void;
}

export interface ConnectionEvents {
  /** A right answer has arrived. The handler may make the next call at once; it is flushed after the last answer. */
  onAnswer(connection: Connection, due: number): void;
  /** The server shed the call. Over gRPC: any error, since trailers are not decoded. */
  onShed(connection: Connection, due: number): void;
  /** A wrong answer, or a lost connection. */
  onFailure(error: Error): void;
}

/** All connections read into the same memory: every piece is handled before the next read. */
const buffer = Buffer.allocUnsafe(256 * 1024);

/**
 * Opens a TCP connection without the cost of a stream's readable side.
 *
 * @param onBytes takes each piece that arrives; the memory is overwritten afterwards.
 */
export function openSocket(
  port: number,
  onBytes: (bytes: Buffer) => void,
  onFailure: (error: Error) => void,
): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect({
      host: "127.0.0.1",
      port,
      noDelay: true,
      onread: {
        buffer,
        callback(length) {
          try {
            onBytes(buffer.subarray(0, length));
          } catch (error) {
            onFailure(error as Error);
            return false;
          }
          return true;
        },
      },
    });
    socket.on("connect", () => resolve(socket));
    socket.on("error", onFailure);
    socket.on("close", () => onFailure(new Error("the server closed a connection")));
  });
}
