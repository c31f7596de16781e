import { once } from "node:events";
import { request as requestHttp1 } from "node:http";
import { connect as connectHttp2, constants } from "node:http2";
import type { RawCall } from "./calls.ts";

/** A call that its caller may abandon before it is answered. */
export interface Asking {
  /** Settles with the headers of the answer. */
  readonly answered: Promise<unknown>;
  /** Settles when the call has ended. */
  readonly closed: Promise<unknown>;
  /** Resets the connection, or the stream over HTTP/2. */
  hangUp(): void;
}

/** Sends a request on a connection of its own. @param isHalf whether the last byte of its body is held back. */
export function startAsking({ version, asked }: RawCall, url: string, isHalf = false): Asking {
  const { method, path, headers = {}, body } = asked;
  const { hostname, port } = new URL(url);
  const sent = isHalf ? body?.subarray(0, -1) : body;
  if (version === "1.1") {
    const request = requestHttp1({ hostname, port, method, path, headers, agent: false });
    request.on("error", () => {});
    request.on("response", (response) => response.on("error", () => {}).resume());
    const answered = once(request, "response").catch(() => undefined);
    const closed = new Promise((resolve) => request.once("close", resolve));
    if (sent !== undefined) request.write(sent);
    if (isHalf) request.flushHeaders();
    else request.end();
    // A half-closed connection would belong to a caller that still waits for its answer.
    return { answered, closed, hangUp: () => void request.socket?.resetAndDestroy() };
  }
  const session = connectHttp2(url);
  session.on("error", () => {});
  const stream = session.request(
    { ":method": method, ":path": path, ...headers },
    { endStream: sent === undefined },
  );
  stream.on("error", () => {}).resume();
  const answered = once(stream, "response").catch(() => undefined);
  const closed = new Promise<void>((resolve) =>
    stream.once("close", () => {
      session.destroy();
      resolve();
    }),
  );
  if (sent !== undefined) stream.write(sent);
  if (!isHalf) stream.end();
  return { answered, closed, hangUp: () => stream.close(constants.NGHTTP2_CANCEL) };
}
