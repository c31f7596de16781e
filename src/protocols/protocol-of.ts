import type { IncomingHttpHeaders } from "node:http";
import type { ProtocolName } from "../status/observation.ts";
import { mediaTypeOf } from "./media-type.ts";

/** The media types of gRPC and of gRPC-Web, with those of message encodings that are not served. */
const grpcTypes = /^application\/grpc(-web(?:-text)?)?(?:[+;]|$)/;

/** @param isRpc whether the request's path is one of an RPC that exists. */
export function protocolOf(
  method: string | undefined,
  headers: IncomingHttpHeaders,
  isRpc: boolean,
): ProtocolName {
  const [type, web] = grpcTypes.exec(mediaTypeOf(headers["content-type"])) ?? [];
  if (type !== undefined) return web === undefined ? "grpc" : "grpc-web";
  return isRpc || method === "POST" ? "connect" : "rest";
}
