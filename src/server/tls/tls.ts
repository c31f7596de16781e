import type { Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { socketBeneath } from "../node-internals.ts";
import { watchFiles } from "../watched-files.ts";
import { pathsOf, readCertificates, type TlsFiles } from "./certificates.ts";

/** Server-side TLS, whatever protocol it carries. */
export interface Tls extends Disposable {
  /**
   * Performs the handshake on a connection, and closes the connection when the handshake fails or exceeds its timeout.
   *
   * @param onSecure called after the handshake. ALPN names the protocol: a client that does not offer HTTP/2 speaks HTTP/1.1
   *   (RFC 9113, section 3.2).
   */
  accept(socket: Socket, onSecure: (socket: TLSSocket, isHttp2: boolean) => void): void;
}

export interface TlsOptions {
  readonly files: TlsFiles;
  /** Called when changed files are in use; with an error when they cannot be used, and the old ones stay in use. */
  readonly onReload: (error?: unknown) => void;
}

/**
 * TLS 1.2 and 1.3, with certificates that may change: new connections get the new ones, and existing connections stay open.
 *
 * @param handshakeTimeout in milliseconds.
 * @throws TlsFilesError
 */
export function openTls({ files, onReload }: TlsOptions, handshakeTimeout: number): Tls {
  const watched = watchFiles(pathsOf(files), (contents) => {
    try {
      server.setSecureContext(readCertificates(files, contents));
      onReload();
    } catch (error) {
      onReload(error);
    }
  });
  const requiresCertificate = files.clientCa !== undefined;
  const server = createServer({
    ...readCertificates(files, watched.contents),
    requestCert: requiresCertificate,
    rejectUnauthorized: requiresCertificate,
    ALPNProtocols: ["h2", "http/1.1"],
    handshakeTimeout,
  });
  // It does not listen, and gets its connections from accept.
  const handshakes = new WeakMap<Socket, (socket: TLSSocket, isHttp2: boolean) => void>();
  server.on("secureConnection", (socket) => {
    // The client may end its sending side of TLS, as of a connection without TLS.
    socket.allowHalfOpen = true;
    handshakes.get(socketBeneath(socket))?.(socket, socket.alpnProtocol === "h2");
  });
  // Node leaves connections open whose handshake exceeds the timeout.
  server.on("tlsClientError", (_error, socket) => socket.destroy());

  return {
    accept(socket, onSecure) {
      // A client that ends its sending side during the handshake gets no response.
      socket.allowHalfOpen = false;
      handshakes.set(socket, onSecure);
      server.emit("connection", socket);
    },
    [Symbol.dispose]: () => watched[Symbol.dispose](),
  };
}
