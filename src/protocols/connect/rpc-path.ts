import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { type Endpoint, fullName } from "../../endpoints/endpoint.ts";
import type { HttpRequest, HttpResponse } from "../http.ts";
import { mediaTypeOf } from "../media-type.ts";

/** What is served on the path of an RPC, over all protocols of RPCs. */
export interface RpcPath {
  /** The full name of the RPC, `package.Service/Method`. */
  readonly name: string;
  /** The methods of HTTP. */
  readonly allowed: readonly string[];
  /** The media types that a POST may have, in lower case and without parameters. */
  readonly posted: readonly string[];
}

const ofUnary = ["application/json", "application/proto"];
const ofStreams = ["application/connect+json", "application/connect+proto"];
const ofEither = [
  "application/grpc",
  "application/grpc+proto",
  "application/grpc+json",
  "application/grpc-web",
  "application/grpc-web+proto",
  "application/grpc-web+json",
];

/** Unary methods without side effects are asked by GET, too (Connect's specification, "Unary-Get-Request"). */
export function rpcPathOf(endpoint: Endpoint): RpcPath {
  const { methodKind, idempotency } = endpoint.method;
  const isUnary = methodKind === "unary";
  const hasGet = isUnary && idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
  return {
    name: fullName(endpoint),
    allowed: hasGet ? ["POST", "GET"] : ["POST"],
    posted: [...(isUnary ? ofUnary : ofStreams), ...ofEither],
  };
}

/**
 * Refuses a form that no protocol of RPCs takes: another method of HTTP with 405 and `Allow` (RFC 9110, section 15.5.6), another media
 * type with 415 and `Accept-Post` (section 15.5.16). Connect's adapter would answer both without them. There is no content: its
 * clients take any JSON for an error of their own protocol, and the conformance suite of Connect does so for all protocols.
 *
 * @returns whether it did.
 */
export function refuseUnknownForm(request: HttpRequest, response: HttpResponse, rpc: RpcPath): boolean {
  const { method = "", headers } = request;
  if (!rpc.allowed.includes(method)) {
    response.writeHead(405, { Allow: rpc.allowed.join(", "), "Content-Length": 0 });
    response.end();
    return true;
  }
  const type = mediaTypeOf(headers["content-type"]);
  if (method === "POST" ? rpc.posted.includes(type) : isConnectGet(request, type)) return false;
  response.writeHead(415, { "Accept-Post": rpc.posted.join(", "), "Content-Length": 0 });
  response.end();
  return true;
}

/** The query names the encoding of the message (Connect's specification, "Unary-Get-Request"). */
function isConnectGet({ url = "", headers }: HttpRequest, type: string): boolean {
  const encoding = new URLSearchParams(url.slice(url.indexOf("?"))).get("encoding");
  const mayBeTyped = headers["content-type"] === undefined || ofUnary.includes(type);
  return mayBeTyped && (encoding === "json" || encoding === "proto");
}
