import { Http2ServerResponse, type OutgoingHttpHeaders } from "node:http2";

/**
 * A response over HTTP/2 whose last byte and whose end are in one frame, where its Content-Length is known (RFC 9113, section
 * 8.1: the last DATA frame bears END_STREAM). Node's own response ends with one more frame that is empty, since it leaves
 * room for trailers. Some clients (OkHttp) consider an exchange complete with the last byte of Content-Length, and begin the
 * next before the stream has ended: one stream more than MAX_CONCURRENT_STREAMS, which ends the connection with all its calls.
 *
 * It responds on the stream itself, beside Node's own response.
 */
export class OneFrameResponse extends Http2ServerResponse {
  /** The bytes of the content that are still to be written. NaN while their number is not known. */
  #remaining = Number.NaN;

  override writeHead(statusCode: number, headers?: OutgoingHttpHeaders | readonly string[] | string): this {
    const { stream } = this;
    if (typeof headers !== "object" || Array.isArray(headers) || stream.destroyed || stream.closed)
      return super.writeHead(statusCode, headers as OutgoingHttpHeaders);
    for (const [name, value] of Object.entries(headers)) this.setHeader(name, value as string);
    const length = this.getHeader("content-length");
    if (length === undefined) return super.writeHead(statusCode);
    this.#remaining = Number(length);
    this.statusCode = statusCode;
    stream.respond({ ":status": statusCode, ...this.getHeaders() }, { endStream: this.#remaining === 0 });
    return this;
  }

  override write(chunk: string | Uint8Array, ...rest: readonly unknown[]): boolean {
    const [encoding, callback] = typeof rest[0] === "function" ? [undefined, rest[0]] : rest;
    this.#remaining -= Buffer.byteLength(chunk, encoding as BufferEncoding);
    // NaN is not 0 either.
    if (this.#remaining !== 0) return super.write(chunk, encoding as BufferEncoding, callback as () => void);
    this.stream.end(chunk, encoding as BufferEncoding, callback as () => void);
    return true;
  }
}
