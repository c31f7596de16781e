import { once } from "node:events";
import { request as requestHttp1 } from "node:http";
import { connect as connectHttp2, constants } from "node:http2";
import { text } from "node:stream/consumers";
import type { RawCall } from "./calls.ts";

/** The answer to a call of which nothing is read but its headers. */
interface Stalled {
  /** Resets the connection, or the stream over HTTP/2. */
  hangUp(): void;
  /** Reads all of it. */
  read(): Promise<string>;
}

export async function openStalled({ version, asked }: RawCall, url: string): Promise<Stalled> {
  const { method, path, headers } = asked;
  if (version === "1.1") {
    const { hostname, port } = new URL(url);
    const request = requestHttp1({ hostname, port, method, path, headers, agent: false }).end();
    const [response] = await once(request, "response");
    response.on("error", () => {});
    return { hangUp: () => void request.socket?.resetAndDestroy(), read: () => text(response) };
  }
  const session = connectHttp2(url);
  session.on("error", () => {});
  const stream = session.request({ ":method": method, ":path": path, ...headers });
  stream.on("error", () => {}).once("close", () => session.destroy());
  await once(stream, "response");
  return { hangUp: () => stream.close(constants.NGHTTP2_CANCEL), read: () => text(stream) };
}
