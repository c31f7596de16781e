import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from "node:http2";
import { connect as connectSocket, type Socket } from "node:net";
import { type AnswerHandler, address, type Connections, type Exchange, type Request } from "./connections.ts";

export interface Http2Options {
  readonly connections: number;
  /** The flow-control window of each stream, in bytes: a stream that is not read blocks once it is used up. */
  readonly window?: number;
}

interface Connection {
  readonly session: ClientHttp2Session;
  readonly socket: Socket;
}

/** Connections over HTTP/2 with prior knowledge. One that was lost, or takes no more calls, is replaced at the next call. */
export function connectHttp2(port: number, { connections, window }: Http2Options): Connections {
  const open = new Map<number, Connection>();

  function connectionOf(client: number): Connection {
    const index = client % connections;
    const known = open.get(index);
    if (known !== undefined && !known.session.closed && !known.session.destroyed) return known;
    const socket = connectSocket({ host: address, port, noDelay: true });
    const session = connect(`http://${address}:${port}`, {
      createConnection: () => socket,
      // In megabytes. Hundreds of streams of one session count towards it.
      maxSessionMemory: 1_000,
      settings: { enablePush: false, ...(window !== undefined && { initialWindowSize: window }) },
    });
    session.setMaxListeners(0);
    session.on("error", () => {});
    const connection = { session, socket };
    open.set(index, connection);
    return connection;
  }

  function send(client: number, { path, headers, body }: Request, handler: AnswerHandler): Exchange {
    const { session, socket } = connectionOf(client);
    const method = body === undefined ? "GET" : "POST";
    const stream = session.request(
      { ":method": method, ":path": path, ...headers },
      { endStream: body === undefined },
    );
    let answer: IncomingHttpHeaders | undefined;
    let trailers: IncomingHttpHeaders | undefined;
    let isWhole = false;
    stream.on("response", (incoming) => {
      answer = incoming;
    });
    stream.on("trailers", (incoming) => {
      trailers = incoming;
    });
    stream.on("data", (bytes: Buffer) => handler.onBytes(bytes));
    stream.on("end", () => {
      isWhole = stream.rstCode === constants.NGHTTP2_NO_ERROR;
    });
    stream.on("error", () => {});
    stream.on("close", () => {
      const status = answer?.[":status"];
      const grpcStatus = (trailers?.["grpc-status"] ?? answer?.["grpc-status"])?.toString();
      handler.onEnd({
        status: status === undefined ? undefined : Number(status),
        grpcStatus,
        reason: answer?.["error-reason"]?.toString(),
        isWhole: isWhole && stream.rstCode === constants.NGHTTP2_NO_ERROR,
      });
    });
    if (body !== undefined) stream.end(body);
    return {
      pause: () => void stream.pause(),
      resume: () => void stream.resume(),
      cancel: () => stream.close(constants.NGHTTP2_CANCEL),
      resetConnection: () => void socket.resetAndDestroy(),
    };
  }

  return {
    send,
    close() {
      for (const { session } of open.values()) session.destroy();
    },
  };
}
