import { once } from "node:events";
import { request as requestHttp1 } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { buffer } from "node:stream/consumers";

/** The exact parts of a request: no client normalizes its path. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

export interface Told {
  readonly status: number;
  /** The headers and the trailers. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export async function overHttp1(url: string, { method, path, headers = {}, body }: Asked): Promise<Told> {
  const { hostname, port } = new URL(url);
  const request = requestHttp1({ hostname, port, method, path, headers, agent: false });
  request.end(body);
  const [response] = await once(request, "response");
  const told = await buffer(response);
  return {
    status: response.statusCode,
    headers: { ...response.headers, ...response.trailers },
    body: told,
  };
}

export async function overHttp2(url: string, { method, path, headers = {}, body }: Asked): Promise<Told> {
  const session = connectHttp2(url);
  try {
    const stream = session.request({ ":method": method, ":path": path, ...headers });
    let trailers = {};
    stream.on("trailers", (received) => {
      trailers = received;
    });
    stream.end(body);
    const [answered] = await once(stream, "response");
    const told = await buffer(stream);
    return { status: answered[":status"], headers: { ...answered, ...trailers }, body: told };
  } finally {
    session.destroy();
  }
}
