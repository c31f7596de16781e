import { connect, type Socket } from "node:net";

/** One connection of the load generator: asks for rows, and checks that it gets exactly their answers. */
export interface Connection {
  /** @param due when the question ought to be asked, in milliseconds of `performance.now()`. Comes back with the answer. */
  ask(row: number, due: number): void;
  /** Sends what was asked since the last flush. */
  flush(): void;
  close(): void;
}

export interface ConnectionEvents {
  /** A right answer has arrived. The caller may ask the next question at once; it is flushed after the last answer. */
  onAnswer(connection: Connection, due: number): void;
  /** The server was too busy to answer. Over gRPC: whatever is an error, since trailers are not decoded. */
  onShed(connection: Connection, due: number): void;
  /** A wrong answer, or none any more. */
  onFailure(error: Error): void;
}

/** What arrives is handled before the next read, so all connections read into the same memory. */
const buffer = Buffer.allocUnsafe(256 * 1024);

/**
 * Opens a TCP connection without the cost of a stream's readable side.
 *
 * @param onBytes is given each piece that arrives; the memory is overwritten afterwards.
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
