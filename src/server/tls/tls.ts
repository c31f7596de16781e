import type { Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { watchFiles } from "../watched-files.ts";
import { pathsOf, readCertificates, type TlsFiles } from "./certificates.ts";

/** TLS, in front of whatever is spoken through it. */
export interface Tls extends Disposable {
  /**
   * Shakes hands on a connection. One that does not in time, or whose peer is not to be trusted, is closed.
   *
   * @param secured called if and when that is done, with what the connection carries. ALPN has decided: a peer that
   *   does not name HTTP/2 speaks HTTP/1.1 (RFC 9113, section 3.2).
   */
  accept(socket: Socket, secured: (socket: TLSSocket, isHttp2: boolean) => void): void;
}

export interface TlsOptions {
  readonly files: TlsFiles;
  /** Told when changed files were taken into use; with an error, when they were not, and the old ones stay. */
  readonly onReload: (error?: unknown) => void;
}

/**
 * TLS 1.2 and 1.3, with certificates that may change: new connections get the new ones, and the others go on.
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
  const wantsCertificate = files.clientCa !== undefined;
  const server = createServer({
    ...readCertificates(files, watched.contents),
    requestCert: wantsCertificate,
    rejectUnauthorized: wantsCertificate,
    ALPNProtocols: ["h2", "http/1.1"],
    handshakeTimeout,
  });
  // It never listens: connections are handed to it.
  const waiting = new WeakMap<Socket, (socket: TLSSocket, isHttp2: boolean) => void>();
  server.on("secureConnection", (socket) => {
    // What is secured may be half-closed, as a connection without TLS may.
    socket.allowHalfOpen = true;
    waiting.get(beneath(socket))?.(socket, socket.alpnProtocol === "h2");
  });
  // Whoever is late is left to us.
  server.on("tlsClientError", (_error, socket) => socket.destroy());

  return {
    accept(socket, secured) {
      // A peer that ends its side in the middle of the handshake is not answered.
      socket.allowHalfOpen = false;
      waiting.set(socket, secured);
      server.emit("connection", socket);
    },
    [Symbol.dispose]: () => watched[Symbol.dispose](),
  };
}

/** The connection that carries TLS: Node keeps it there, under no public name. */
function beneath(socket: TLSSocket): Socket {
  return (socket as TLSSocket & { readonly _parent: Socket })._parent;
}
