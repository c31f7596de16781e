import { type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";

/** What Node says when it cannot read a request, if it is not 400. */
const statuses: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

/**
 * Answers what an HTTP/1.1 server cannot read as a request, as Node does by itself, and with more headers.
 *
 * @param linesFor is given what has come of the request, if that is known, and returns header lines.
 */
export function answerClientErrors(http1: Server, linesFor: (head: Buffer | undefined) => string): void {
  http1.on("clientError", (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket: Duplex) => {
    // Node keeps the reply that is under way there, under no public name.
    const reply = (socket as Duplex & { _httpMessage?: ServerResponse | null })._httpMessage;
    if (socket.writable && !reply?.headersSent) {
      const status = statuses[error.code ?? ""] ?? 400;
      socket.write(
        `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n${linesFor(error.rawPacket)}\r\n`,
      );
    }
    socket.destroy(error);
  });
}
