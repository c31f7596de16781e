import { Agent, type IncomingMessage, request } from "node:http";
import { type AnswerHandler, address, type Connections, type Exchange, type Request } from "./connections.ts";

/** Keep-alive connections over HTTP/1.1, one for each answer that has not ended. */
export function connectHttp1(port: number): Connections {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: Number.POSITIVE_INFINITY });

  function send(_client: number, { path, headers, body }: Request, handler: AnswerHandler): Exchange {
    const method = body === undefined ? "GET" : "POST";
    const outgoing = request({ agent, host: address, port, path, method, headers });
    let response: IncomingMessage | undefined;
    outgoing.on("response", (incoming) => {
      response = incoming;
      incoming.on("data", (bytes: Buffer) => handler.onBytes(bytes));
      incoming.on("error", () => {});
    });
    outgoing.on("error", () => {});
    outgoing.on("close", () =>
      handler.onEnd({
        status: response?.statusCode,
        grpcStatus: undefined,
        reason: response?.headers["error-reason"]?.toString(),
        isWhole: response?.complete === true,
      }),
    );
    outgoing.end(body);
    return {
      pause: () => response?.pause(),
      resume: () => response?.resume(),
      cancel: () => void outgoing.destroy(),
      resetConnection: () => outgoing.socket?.resetAndDestroy(),
    };
  }

  return { send, close: () => agent.destroy() };
}
