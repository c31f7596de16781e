import { parseTimeout } from "@connectrpc/connect/protocol-grpc";
import { longestDelay } from "../status/longest-delay.ts";
import type { HttpRequest } from "./http.ts";

/**
 * Shortens a caller's timeout to the longest that a timer can keep. Clients that mean "for ever" send the largest
 * that the protocol can say (gRPC: 99999999H; Connect: 9999999999 ms), and Connect would let that pass at once.
 */
export function shortenTimeout({ headers }: HttpRequest): void {
  const grpc = headers["grpc-timeout"];
  if (
    typeof grpc === "string" &&
    (parseTimeout(grpc, Number.POSITIVE_INFINITY).timeoutMs ?? 0) > longestDelay
  ) {
    headers["grpc-timeout"] = `${Math.floor(longestDelay / 1000)}S`;
  }
  const connect = headers["connect-timeout-ms"];
  if (typeof connect === "string" && /^\d{1,10}$/.test(connect) && Number(connect) > longestDelay) {
    headers["connect-timeout-ms"] = String(longestDelay);
  }
}
