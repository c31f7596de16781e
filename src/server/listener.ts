import type { IncomingHttpHeaders } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { FastPath } from "../protocols/grpc/fast-path.ts";
import type { HttpHandler } from "../protocols/http.ts";
import { trackConnections } from "./connections.ts";
import { drain } from "./draining.ts";
import type { LinesForUnread } from "./http1/client-errors.ts";
import { createHttp1Server } from "./http1/server.ts";
import { createHttp2Server } from "./http2/server.ts";
import { completeLimits, type Limits, sweepIntervalOf } from "./limits.ts";
import { detectProtocol } from "./protocol-detection.ts";
import { startSweeps } from "./sweeps.ts";
import { openTls, type TlsOptions } from "./tls/tls.ts";

export interface ListenOptions {
  /** Undefined: all interfaces, IPv6 and IPv4. */
  readonly host: string | undefined;
  /** 0 takes a free one. */
  readonly port: number;
  /** How long, in milliseconds, calls in progress may take to finish once the listener closes. */
  readonly shutdownTimeout: number;
  readonly limits?: Limits;
  /** Absent: connections are not encrypted. */
  readonly tls?: TlsOptions | undefined;
  readonly handler: HttpHandler;
  /** Gets each HTTP/2 stream first. Absent: the handler gets them all. */
  readonly fastPath?: FastPath | undefined;
  /** More header lines for the response to what cannot be read as a request. */
  readonly linesForUnread?: LinesForUnread | undefined;
  /** Called for each connection that is closed because of `maxConnections`. */
  readonly onDropped?: () => void;
  /** Called for each HTTP/2 stream that the client resets before it is served. */
  readonly onCancelled?: (headers: IncomingHttpHeaders) => void;
}

/** Disposing of it takes no new connections, lets calls in progress finish, and then closes every connection. */
export interface Listener extends AsyncDisposable {
  readonly address: AddressInfo;
}

/** One port for HTTP/1.1 and for HTTP/2. @throws TlsFilesError; Node's error when it cannot listen. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const { host, port, shutdownTimeout, handler, fastPath, linesForUnread, onDropped, onCancelled } = options;
  const limits = completeLimits(options.limits ?? {});
  const { maxConnections, peerTimeout, idleTimeout } = limits;
  using started = new DisposableStack();
  const tls = options.tls && started.use(openTls(options.tls, peerTimeout));
  const http1 = createHttp1Server({ limits, handler, linesForUnread, onConnection });
  const http2 = started.use(createHttp2Server({ limits, handler, fastPath, onCancelled }));
  const connections = trackConnections({ maxConnections, idleTimeout, onDropped });

  const sweeps = started.use(startSweeps(sweepIntervalOf(limits)));
  for (const sweep of [connections.sweep, http1.sweep, http1.closeOld, http2.sweep, http2.closeOld])
    sweeps.add(sweep);

  function onConnection(socket: Socket): void {
    const connection = connections.add(socket);
    detectProtocol(socket, {
      tls,
      timeout: peerTimeout,
      onFirstByte: connection.firstByteArrived,
      onDetected(carrier, isHttp2) {
        connection.protocolDetected();
        (isHttp2 ? http2 : http1).serve(carrier);
      },
    });
  }

  const address = await http1.listen({ host, port });
  const running = started.move();
  return {
    address,
    async [Symbol.asyncDispose]() {
      await drain({ http1, http2, connections, timeout: shutdownTimeout });
      running.dispose();
    },
  };
}
