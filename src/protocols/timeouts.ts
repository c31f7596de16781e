import { parseTimeout } from "@connectrpc/connect/protocol-grpc";
import type { HttpRequest } from "./http.ts";

/** In milliseconds: about 24 days. A timer of Node's that is set to more fires at once. */
export const longestTimeout = 2 ** 31 - 1;

/**
 * Shortens a caller's timeout to the longest that a timer can keep. Clients that mean "for ever" send the largest
 * that the protocol can say (gRPC: 99999999H; Connect: 9999999999 ms), and Connect would let that pass at once.
 */
export function shortenTimeout({ headers }: HttpRequest): void {
  const grpc = headers["grpc-timeout"];
  if (
    typeof grpc === "string" &&
    (parseTimeout(grpc, Number.POSITIVE_INFINITY).timeoutMs ?? 0) > longestTimeout
  ) {
    headers["grpc-timeout"] = `${Math.floor(longestTimeout / 1000)}S`;
  }
  const connect = headers["connect-timeout-ms"];
  if (typeof connect === "string" && /^\d{1,10}$/.test(connect) && Number(connect) > longestTimeout) {
    headers["connect-timeout-ms"] = String(longestTimeout);
  }
}
