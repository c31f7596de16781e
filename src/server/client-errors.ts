import { type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { errorBody } from "../protocols/error-bodies.ts";

/** What Node says of bytes that are no request which it reads, by its codes. Others are 400. */
const statuses: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

/**
 * @param head what has come of a request that cannot be read, if that is known.
 * @returns header lines for its answer.
 */
export type LinesForUnread = (head: Buffer | undefined) => readonly string[];

/**
 * Answers what comes over HTTP/1.1 and is no request that Node reads, and closes the connection. Node's own answers have neither
 * a date (RFC 9110, section 6.6.1) nor a body.
 *
 * @param reply that is under way on the connection: an answer in its middle would only harm it.
 */
export function answerClientError(
  error: NodeJS.ErrnoException & { readonly rawPacket?: Buffer },
  socket: Socket,
  reply: ServerResponse | undefined | null,
  linesForUnread: LinesForUnread = () => [],
): void {
  if (socket.writable && !reply?.headersSent) {
    const status = statuses[error.code ?? ""] ?? 400;
    const title = STATUS_CODES[status] as string;
    const body = errorBody(status, title);
    const lines = [
      `HTTP/1.1 ${status} ${title}`,
      `Date: ${new Date().toUTCString()}`,
      "Connection: close",
      "Content-Type: application/json",
      `Content-Length: ${body.length}`,
      "Cache-Control: no-store",
      ...linesForUnread(error.rawPacket),
      "",
      body,
    ];
    socket.write(lines.join("\r\n"));
  }
  socket.destroy(error);
}
