import { type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { errorBody } from "../../protocols/error-bodies.ts";

/** The HTTP status for the codes of Node's parser errors. All others are 400. */
const statuses: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

/**
 * @param head the bytes of a request that cannot be read, as far as they are known.
 * @returns header lines for the response.
 */
export type LinesForUnread = (head: Buffer | undefined) => readonly string[];

/**
 * Responds to bytes over HTTP/1.1 that are no valid request, and closes the connection. Node's own responses have neither a date
 * (RFC 9110, section 6.6.1) nor a body.
 *
 * @param inProgress the response that is under way on the connection. Once its headers are sent, nothing can be added.
 */
export function answerClientError(
  error: NodeJS.ErrnoException & { readonly rawPacket?: Buffer },
  socket: Socket,
  inProgress: ServerResponse | undefined | null,
  linesForUnread: LinesForUnread = () => [],
): void {
  if (socket.writable && !inProgress?.headersSent) {
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
