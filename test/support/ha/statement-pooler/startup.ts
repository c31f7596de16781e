import type { Socket } from "node:net";
import { int32 } from "../../postgres-messages.ts";

/** What a client's first message has in place of the protocol's version, when it is no StartupMessage. */
const cancelRequestCode = 80877102;
const sslRequestCode = 80877103;
const gssEncRequestCode = 80877104;

interface Startup {
  readonly onStartup: () => void;
  /** @param key of the client whose statement is to be cancelled. */
  readonly onCancel: (key: number) => void;
}

/** Reads what a client sends first, which has no type. Encryption is declined. */
export function readStartup(socket: Socket, { onStartup, onCancel }: Startup): void {
  let pending: Buffer = Buffer.alloc(0);

  function read(chunk: Buffer): void {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 8 && pending.length >= pending.readInt32BE()) {
      const first = pending.subarray(0, pending.readInt32BE());
      pending = pending.subarray(first.length);
      const code = first.readInt32BE(4);
      if (code === sslRequestCode || code === gssEncRequestCode) {
        socket.write("N");
        continue;
      }
      socket.off("data", read);
      if (code === cancelRequestCode) {
        onCancel(first.readInt32BE(12));
        socket.end();
      } else onStartup();
      return;
    }
  }

  socket.on("data", read);
}

export function cancelRequest(processId: number, secretKey: number): Buffer {
  return Buffer.concat([16, cancelRequestCode, processId, secretKey].map(int32));
}
