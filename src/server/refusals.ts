import { Code } from "@connectrpc/connect";
import { codeToString } from "@connectrpc/connect/protocol-connect";
import { errorBody } from "../protocols/error-bodies.ts";
import { type HttpRequest, type HttpResponse, sendGrpcError, sendJson } from "../protocols/http.ts";
import { mediaTypeOf } from "../protocols/media-type.ts";
import type { ProtocolName } from "../status/observation.ts";

/** An error for a request that reaches no route, as each protocol writes it. */
export interface Refusal {
  /** The HTTP status, and its name. */
  readonly http: number;
  readonly title: string;
  readonly code: Code;
  readonly message: string;
}

export const notFound: Refusal = {
  http: 404,
  title: "Not Found",
  code: Code.Unimplemented,
  message: "unknown method",
};

/** RFC 6585, section 5. */
export const headersTooLarge: Refusal = {
  http: 431,
  title: "Request Header Fields Too Large",
  code: Code.ResourceExhausted,
  message: "the request has more headers than are taken (MAX_HEADER_SIZE)",
};

export function sendRefusal(
  request: HttpRequest,
  response: HttpResponse,
  protocol: ProtocolName,
  { http, title, code, message }: Refusal,
): void {
  if (!protocol.startsWith("grpc")) {
    const json =
      protocol === "rest" ? errorBody(http, title) : JSON.stringify({ code: codeToString(code), message });
    sendJson(request, response, http, json);
    return;
  }
  sendGrpcError(response, mediaTypeOf(request.headers["content-type"]), [
    ["Grpc-Status", String(code)],
    ["Grpc-Message", message],
  ]);
}
