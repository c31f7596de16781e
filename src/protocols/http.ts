import { STATUS_CODES } from "node:http";
import type { connectNodeAdapter } from "@connectrpc/connect-node";
import { errorBody } from "./error-bodies.ts";

/** Answers a request over HTTP/1.1 or HTTP/2: the routes need nothing but what both have in common. */
export type HttpHandler = ReturnType<typeof connectNodeAdapter>;
export type HttpRequest = Parameters<HttpHandler>[0];
export type HttpResponse = Parameters<HttpHandler>[1];

/** @param url of a request, in origin form. @returns its path without the query, still percent-encoded. */
export function pathOf(url = "/"): string {
  const query = url.indexOf("?");
  return query === -1 ? url : url.slice(0, query);
}

/** Answers with JSON that no cache may store: a status is only true when it is read. HEAD gets the headers alone. */
export function sendJson(
  request: HttpRequest,
  response: HttpResponse,
  status: number,
  json: string,
  headers?: Readonly<Record<string, string>>,
): void {
  const length = Buffer.byteLength(json);
  const always = {
    "Content-Type": "application/json",
    "Content-Length": length,
    "Cache-Control": "no-store",
  };
  response.writeHead(status, headers === undefined ? always : { ...always, ...headers });
  if (request.method === "HEAD") response.end();
  // Node need not encode a text that is ASCII alone.
  else response.end(json, length === json.length ? "latin1" : "utf8");
}

/**
 * Answers a gRPC call with its error alone, and with HTTP status 200 ("Trailers-Only", gRPC over HTTP/2, "Responses").
 *
 * @param trailers how the call ended.
 */
export function sendGrpcError(
  response: HttpResponse,
  contentType: string,
  trailers: Iterable<readonly [name: string, value: string]>,
): void {
  response.statusCode = 200;
  response.setHeader("Content-Type", contentType);
  for (const [name, value] of trailers) response.setHeader(name, value);
  // Headers that are not written ahead leave together with the end: they are the trailers, too.
  response.end();
}

/** Answers with an error that has no reason of the contract: its body is the name of its status. */
export function sendError(
  request: HttpRequest,
  response: HttpResponse,
  status: number,
  headers?: Readonly<Record<string, string>>,
): void {
  sendJson(request, response, status, errorBody(status, STATUS_CODES[status] as string), headers);
}

const getAndHead = ["GET", "HEAD"];

/** Answers every method of HTTP but those that are allowed. @returns whether it did. */
export function refuseOtherMethods(
  request: HttpRequest,
  response: HttpResponse,
  allowed: readonly string[] = getAndHead,
): boolean {
  if (allowed.includes(request.method ?? "")) return false;
  sendError(request, response, 405, { Allow: allowed.join(", ") });
  return true;
}
