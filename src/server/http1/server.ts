import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerOptions, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { HttpHandler } from "../../protocols/http.ts";
import { answerHeldCalls, sendAwayHeldCalls } from "../../status/holds.ts";
import { LinkedList } from "../../status/linked-list.ts";
import { ConnectionAge } from "../connection-age.ts";
import { maxHeaderFields } from "../header-size.ts";
import type { CompleteLimits } from "../limits.ts";
import {
  allowHalfOpen,
  announceIdleTimeout,
  responseInProgress,
  takeConnections,
} from "../node-internals.ts";
import { answerClientError, type LinesForUnread } from "./client-errors.ts";
import { ClientWatch } from "./slow-clients.ts";

interface Http1ServerOptions {
  readonly limits: CompleteLimits;
  readonly handler: HttpHandler;
  readonly linesForUnread: LinesForUnread | undefined;
  /** Called for each new connection, whatever its protocol. */
  readonly onConnection: (socket: Socket) => void;
}

/** Serves HTTP/1.1, and listens for all protocols: Node checks the timeouts of HTTP/1.1 only on a server that listens. */
export interface Http1Server {
  listen(address: ListenAddress): Promise<AddressInfo>;
  /** Serves a connection whose protocol has turned out to be HTTP/1.1. */
  serve(socket: Socket): void;
  /** Closes the connections that are idle, or whose client does not read. @param now in milliseconds, of the sweeps' clock. */
  sweep(now: number): void;
  /** Closes the connections that exceed their age, each after the response under way. @param now of the sweeps' clock. */
  closeOld(now: number): void;
  /** Takes no new connections, and closes those of HTTP/1.1 after the response under way. Resolves when all have closed. */
  drain(): Promise<void>;
}

interface ListenAddress {
  readonly host: string | undefined;
  readonly port: number;
}

/** A connection as long as it is open. */
interface Connection {
  readonly socket: Socket;
  readonly age: ConnectionAge;
  readonly client: ClientWatch;
  closesAfterResponse: boolean;
}

const connectionOf = Symbol("connection");

type Http1Socket = Socket & { [connectionOf]?: Connection };

export function createHttp1Server({
  limits,
  handler,
  linesForUnread,
  onConnection,
}: Http1ServerOptions): Http1Server {
  const connections = new LinkedList<Connection>();
  let isDraining = false;

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    const connection = (request.socket as Http1Socket)[connectionOf];
    connection?.client.callBegins();
    announceIdleTimeout(response, limits.idleTimeout);
    // While Node closes the server, it still offers keep-alive, and the client's next request would be lost.
    if (isDraining || connection?.closesAfterResponse) announceClose(response);
    handler(request, response);
  }

  const server = createServer(optionsOf(limits), onRequest);
  server.maxHeadersCount = maxHeaderFields;
  server.on("clientError", (error, socket) =>
    answerClientError(error, socket as Socket, responseInProgress(socket as Socket), linesForUnread),
  );
  allowHalfOpen(server);
  // Node would ask clients for their messages before authentication and limits have admitted the call.
  server.on("checkContinue", onRequest);
  const serveConnection = takeConnections(server, onConnection);

  return {
    async listen({ host, port }) {
      server.listen({ port, host });
      await once(server, "listening");
      return server.address() as AddressInfo;
    },

    serve(socket: Http1Socket) {
      const connection = {
        socket,
        age: new ConnectionAge(limits),
        client: new ClientWatch(socket, limits),
        closesAfterResponse: false,
      };
      socket[connectionOf] = connection;
      const link = connections.add(connection);
      socket.on("end", answerHeld);
      socket.once("close", () => link.remove());
      serveConnection(socket);
      socket.resume();
    },

    sweep(now) {
      for (const { socket, client } of connections.toArray())
        if (client.exceedsTimeout(now)) socket.destroy();
    },

    closeOld(now) {
      for (const connection of connections.toArray()) {
        const { socket, age } = connection;
        if (!age.exceedsLimit(now)) continue;
        connection.closesAfterResponse = true;
        if (age.exceedsGrace(now) && sendAwayHeldCalls(socket)) closeAfterResponse(socket);
      }
    },

    async drain() {
      isDraining = true;
      const closed = once(server, "close");
      server.close();
      for (const { socket } of connections.toArray()) closeAfterResponse(socket);
      await closed;
    },
  };
}

function optionsOf({ maxHeaderSize, peerTimeout }: CompleteLimits): ServerOptions {
  return {
    keepAlive: true,
    noDelay: true,
    // A request without a body costs no stream's events: 3 % of a call.
    optimizeEmptyRequests: true,
    // The sweep closes idle connections: Node would set a timer after each response.
    keepAliveTimeout: 0,
    headersTimeout: peerTimeout,
    requestTimeout: peerTimeout,
    // The router refuses such requests, and counts them.
    requireHostHeader: false,
    // How often Node compares slow requests with the clock.
    connectionsCheckingInterval: Math.ceil(peerTimeout / 10),
    ...(maxHeaderSize !== undefined && { maxHeaderSize }),
  };
}

/** A client that has ended its sending side may be gone, and a call that is held for it would stay. */
function answerHeld(this: Socket): void {
  answerHeldCalls(this);
}

/** Closes a connection after the response under way. One that is already announced to be kept open, is closed all the same. */
function closeAfterResponse(socket: Socket): void {
  const response = responseInProgress(socket);
  if (response?.headersSent) response.once("finish", () => socket.destroySoon());
  else if (response) announceClose(response);
}

function announceClose(response: ServerResponse): void {
  response.setHeader("Connection", "close");
}
