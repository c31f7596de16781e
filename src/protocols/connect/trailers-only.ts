import type { HttpResponse } from "../http.ts";

/** Names and their values, as Connect's adapter gives them. */
type NodeHeaders = Readonly<Record<string, string | string[]>>;

/** What the adapter calls of a response. Over HTTP/1.1 and HTTP/2 it is the same, for which TypeScript has no type. */
interface Writable {
  writeHead(status: number, headers?: NodeHeaders): unknown;
  write(...args: unknown[]): unknown;
  addTrailers(trailers: NodeHeaders): unknown;
  end(...args: unknown[]): unknown;
}

/** The headers that the adapter itself sends with every answer. Any other is the handler's, and no trailer. */
const adaptersOwn = new Set(["content-type", "grpc-accept-encoding", "grpc-encoding"]);

/**
 * Sends a gRPC answer without a message as one block of headers ("Trailers-Only", gRPC over HTTP/2, "Responses"),
 * where Connect's adapter would send two. A client never retries a call once it has had headers without the end of the
 * answer (gRFC A6, "When Retries are Valid"), so that a service config, or a pushback, would be without effect. An answer in
 * whose headers the handler has set something keeps both blocks.
 *
 * @param response of a gRPC call that the adapter answers.
 */
export function sendTrailersOnly(response: HttpResponse): void {
  const node = response as Writable;
  const { writeHead, write, addTrailers, end } = node;
  let status = 200;
  let headers: NodeHeaders = {};
  let trailers: NodeHeaders = {};

  function stopHolding(): void {
    Object.assign(node, { writeHead, write, addTrailers, end });
  }

  Object.assign(node, {
    writeHead(heldStatus: number, held: NodeHeaders = {}) {
      status = heldStatus;
      headers = held;
      return node;
    },
    write(...args: unknown[]) {
      stopHolding();
      node.writeHead(status, headers);
      return node.write(...args);
    },
    addTrailers(held: NodeHeaders) {
      trailers = held;
    },
    end(...args: unknown[]) {
      stopHolding();
      if (Object.keys(headers).some((name) => !adaptersOwn.has(name.toLowerCase()))) {
        node.writeHead(status, headers);
        node.addTrailers(trailers);
        return node.end(...args);
      }
      // What is not written ahead leaves together with the end.
      response.statusCode = status;
      for (const [name, value] of Object.entries({ ...headers, ...trailers })) {
        response.setHeader(name, value);
      }
      return node.end(...args);
    },
  } satisfies Writable);
}
