import { cors as connectCors } from "@connectrpc/connect";
import type { HttpRequest, HttpResponse } from "../protocols/http.ts";
import type { LinesForUnread } from "./http1/client-errors.ts";

/** Grants pages on other origins access (Fetch standard, "CORS protocol"). */
export interface Cors {
  /**
   * Sets the response headers that grant access, and answers preflights, which a browser sends without a token.
   *
   * @returns whether the request was a preflight, and is answered.
   */
  answer(request: HttpRequest, response: HttpResponse): boolean;
  /** Grants the same access to the response to what cannot be read as a request. */
  readonly linesForUnread: LinesForUnread;
}

/** The response headers that a page may read, of all protocols. */
const exposedHeaders = [
  ...connectCors.exposedHeaders,
  ...[
    "Error-Reason",
    "Error-Limit",
    "Retry-After",
    "Preference-Applied",
    "X-Request-Id",
    "WWW-Authenticate",
    "Allow",
    "Accept-Post",
  ],
].join(", ");

const preflightHeaders = {
  "Access-Control-Allow-Methods": "GET, HEAD, POST",
  // Listed by name, since `*` does not include Authorization.
  "Access-Control-Allow-Headers": [
    ...connectCors.allowedHeaders,
    ...["Grpc-Encoding", "Grpc-Accept-Encoding", "Authorization", "X-Request-Id", "Prefer", "Last-Event-ID"],
  ].join(", "),
  // In seconds: Chrome's maximum.
  "Access-Control-Max-Age": "7200",
};

const originLine = /^origin:[ \t]*([^\r\n]*?)[ \t]*\r?$/im;

/** @param origins in the form of the header Origin; or `*` for all. */
export function createCors(origins: readonly string[]): Cors {
  const allowsAll = origins.includes("*");
  const allowedOrigins = new Set(origins);

  function allowedOriginFor(origin: string | undefined): string | undefined {
    if (allowsAll) return "*";
    return origin !== undefined && allowedOrigins.has(origin) ? origin : undefined;
  }

  return {
    answer({ method, headers }, response) {
      const { origin } = headers;
      const isPreflight =
        method === "OPTIONS" && origin !== undefined && "access-control-request-method" in headers;
      const allowed = allowedOriginFor(origin as string | undefined);
      if (allowed !== undefined) response.setHeader("Access-Control-Allow-Origin", allowed);
      if (!isPreflight) {
        response.setHeader("Vary", "Origin");
        if (allowed !== undefined) response.setHeader("Access-Control-Expose-Headers", exposedHeaders);
        return false;
      }
      response.setHeader("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
      response.writeHead(204, allowed === undefined ? {} : preflightHeaders);
      response.end();
      return true;
    },
    linesForUnread(head) {
      const allowed = allowedOriginFor(originLine.exec(head?.toString("latin1") ?? "")?.[1]);
      return allowed === undefined
        ? ["Vary: Origin"]
        : ["Vary: Origin", `Access-Control-Allow-Origin: ${allowed}`];
    },
  };
}
