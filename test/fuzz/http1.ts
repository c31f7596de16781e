import { openPeer } from "../support/peer.ts";

export interface Http1Request {
  readonly method: string;
  readonly target: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: Uint8Array;
}

export interface Http1Response {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Sends requests on one connection without waiting for answers (pipelining). @returns the response to each of them. */
export async function pipeline(port: number, requests: readonly Http1Request[]): Promise<Http1Response[]> {
  using peer = await openPeer(port);
  peer.send(Buffer.concat(requests.map((request, index) => write(request, index === requests.length - 1))));
  return readResponses(
    await peer.closed,
    requests.map(({ method }) => method),
  );
}

function write({ method, target, headers = [], body }: Http1Request, isLast: boolean): Buffer {
  const lines = [
    `${method} ${target} HTTP/1.1`,
    "Host: fuzz",
    ...headers.map(([name, value]) => `${name}: ${value}`),
    ...(body === undefined ? [] : [`Content-Length: ${body.length}`]),
    ...(isLast ? ["Connection: close"] : []),
  ];
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), body ?? Buffer.alloc(0)]);
}

/**
 * @param methods of the requests, in order: the answer to HEAD has no body.
 * @throws Error when the bytes are not a sequence of complete responses.
 */
function readResponses(bytes: Buffer, methods: readonly string[]): Http1Response[] {
  const responses: Http1Response[] = [];
  for (let at = 0; at < bytes.length; ) {
    const headEnd = bytes.indexOf("\r\n\r\n", at);
    const [statusLine = "", ...lines] = bytes.toString("latin1", at, headEnd).split("\r\n");
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]);
    if (headEnd === -1 || !(status >= 100))
      throw new Error(`not a response: ${bytes.toString("latin1", at)}`);
    const headers = Object.fromEntries(
      lines.map((line) => [
        line.slice(0, line.indexOf(":")).toLowerCase(),
        line.slice(line.indexOf(":") + 2),
      ]),
    );
    at = headEnd + 4;
    if (status < 200) continue;
    const hasBody = methods[responses.length] !== "HEAD" && status !== 204 && status !== 304;
    const { body, end } = hasBody ? readBody(bytes, at, headers) : { body: Buffer.alloc(0), end: at };
    at = end;
    responses.push({ status, headers, body });
  }
  return responses;
}

function readBody(bytes: Buffer, start: number, headers: Readonly<Record<string, string>>) {
  if (headers["transfer-encoding"] === "chunked") return readChunks(bytes, start);
  // A body without a length ends with the connection (RFC 9112, section 6.3).
  const end = "content-length" in headers ? start + Number(headers["content-length"]) : bytes.length;
  if (end > bytes.length) throw new Error("a body is truncated");
  return { body: bytes.subarray(start, end), end };
}

function readChunks(bytes: Buffer, start: number) {
  const chunks: Buffer[] = [];
  for (let at = start; ; ) {
    const sizeEnd = bytes.indexOf("\r\n", at);
    const size = Number.parseInt(bytes.toString("latin1", at, sizeEnd), 16);
    if (sizeEnd === -1 || Number.isNaN(size)) throw new Error("not a chunk");
    at = sizeEnd + 2 + size + 2;
    if (size === 0) return { body: Buffer.concat(chunks), end: at };
    chunks.push(bytes.subarray(sizeEnd + 2, at - 2));
  }
}
