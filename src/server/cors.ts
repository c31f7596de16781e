import { cors as ofConnect } from "@connectrpc/connect";
import type { HttpRequest, HttpResponse } from "../protocols/http.ts";
import type { LinesForUnread } from "./client-errors.ts";

/** What pages on other origins may do (Fetch standard, "CORS protocol"). */
export interface Cors {
  /**
   * Says on the answer who may read it, and answers preflights: a browser sends those without a token.
   *
   * @returns whether the request was a preflight, and has its answer.
   */
  answer(request: HttpRequest, response: HttpResponse): boolean;
  /** Says the same on the answer to what cannot be read as a request. */
  readonly linesForUnread: LinesForUnread;
}

/** What the answers to our protocols' requests tell in headers. */
const exposed = [
  ...ofConnect.exposedHeaders,
  ...[
    "Error-Reason",
    "Error-Limit",
    "Retry-After",
    "X-Request-Id",
    "WWW-Authenticate",
    "Allow",
    "Accept-Post",
  ],
].join(", ");

const preflightHeaders = {
  "Access-Control-Allow-Methods": "GET, HEAD, POST",
  // By name: `*` would not cover Authorization.
  "Access-Control-Allow-Headers": [
    ...ofConnect.allowedHeaders,
    ...["Grpc-Encoding", "Grpc-Accept-Encoding", "Authorization", "X-Request-Id"],
  ].join(", "),
  // The longest that Chrome keeps it, in seconds.
  "Access-Control-Max-Age": "7200",
};

const originLine = /^origin:[ \t]*([^\r\n]*?)[ \t]*\r?$/im;

/** @param origins as browsers write them; or `*`, for all of them. */
export function createCors(origins: readonly string[]): Cors {
  const isForAll = origins.includes("*");
  const known = new Set(origins);

  function allowedFor(origin: string | undefined): string | undefined {
    if (isForAll) return "*";
    return origin !== undefined && known.has(origin) ? origin : undefined;
  }

  return {
    answer({ method, headers }, response) {
      const { origin } = headers;
      const isPreflight =
        method === "OPTIONS" && origin !== undefined && "access-control-request-method" in headers;
      const allowed = allowedFor(origin as string | undefined);
      if (allowed !== undefined) response.setHeader("Access-Control-Allow-Origin", allowed);
      if (!isPreflight) {
        response.setHeader("Vary", "Origin");
        if (allowed !== undefined) response.setHeader("Access-Control-Expose-Headers", exposed);
        return false;
      }
      response.setHeader("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
      response.writeHead(204, allowed === undefined ? {} : preflightHeaders);
      response.end();
      return true;
    },
    linesForUnread(head) {
      const allowed = allowedFor(originLine.exec(head?.toString("latin1") ?? "")?.[1]);
      return allowed === undefined
        ? ["Vary: Origin"]
        : ["Vary: Origin", `Access-Control-Allow-Origin: ${allowed}`];
    },
  };
}
