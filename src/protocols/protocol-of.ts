import type { IncomingHttpHeaders } from "node:http";
import type { ProtocolName } from "./observer.ts";

/** @param isRpc whether the request's path is one of an RPC that exists. */
export function protocolOf(
  method: string | undefined,
  headers: IncomingHttpHeaders,
  isRpc: boolean,
): ProtocolName {
  const type = headers["content-type"]?.toLowerCase() ?? "";
  if (type.startsWith("application/grpc-web")) return "grpc-web";
  if (type.startsWith("application/grpc")) return "grpc";
  return isRpc || method === "POST" ? "connect" : "rest";
}
