import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { Target, Way } from "../url/target.ts";
import { PgConnection } from "./pg-internals.ts";
import { tlsOptionsOf } from "./tls.ts";

/** The answers to an SSLRequest. */
const tlsAccepted = "S".charCodeAt(0);
const tlsRefused = "N".charCodeAt(0);

/** Opens the socket and negotiates TLS, up to the first message of the protocol. The rest is the driver's. */
export class Transport extends PgConnection {
  readonly #target: Target;
  /** To be set before {@link connect}. */
  way: Way;
  /** How far it has come. */
  phase: "connecting" | "encrypting" | "open" = "connecting";
  encrypted = false;

  constructor(target: Target) {
    super({});
    this.#target = target;
    [this.way] = target.ways;
  }

  /** Emits `connect` when the connection is encrypted, or is not going to be: the driver then begins the session. */
  override connect(): void {
    const socket = this.stream as Socket;
    this._connecting = true;
    socket.on("error", (error) => this.#report(error));
    socket.on("close", () => this.emit("end"));
    socket.once("connect", () => this.#negotiate(socket));
    socket.setNoDelay(true);
    const { address, port } = this.way;
    if (address.startsWith("/")) socket.connect(`${address}/.s.PGSQL.${port}`);
    else socket.connect(port, address);
  }

  /** Bytes that are not PostgreSQL's make pg's parser throw where nothing catches it: here they close the connection. */
  override attachListeners(stream: Duplex): void {
    super.attachListeners(stream);
    const [parse] = stream.listeners("data");
    stream.removeAllListeners("data").on("data", (chunk) => {
      try {
        parse?.(chunk);
      } catch (error) {
        stream.destroy(error as Error);
      }
    });
  }

  #negotiate(socket: Socket): void {
    const { keepAlive, tls } = this.#target;
    if (keepAlive.enable) socket.setKeepAlive(keepAlive);
    if (this.way.encryption === "none") {
      this.#open(socket);
      return;
    }
    this.phase = "encrypting";
    if (tls.direct) {
      this.#encrypt(socket);
      return;
    }
    this.requestSsl();
    socket.once("data", (answer: Buffer) => {
      // Bytes after the first come from an attacker in between, who cannot speak TLS (CVE-2021-23222).
      const byte = answer.length === 1 ? answer[0] : undefined;
      if (byte === tlsAccepted) this.#encrypt(socket);
      else if (byte !== tlsRefused)
        socket.destroy(new Error("the server's answer to an SSLRequest is invalid"));
      else if (this.way.encryption === "offered") this.#open(socket);
      else socket.destroy(new Error("The server does not support SSL connections"));
    });
  }

  #encrypt(socket: Socket): void {
    const { tls } = this.#target;
    try {
      const secure = connectTls({ ...tlsOptionsOf(tls, this.way.host), socket });
      this.stream = secure;
      secure.on("error", (error) => this.#report(error));
      secure.once("secureConnect", () => {
        this.encrypted = true;
        // Without this answer, the server may speak another protocol (the ALPACA attack).
        if (!tls.direct || secure.alpnProtocol === "postgresql") this.#open(secure);
        else
          secure.destroy(
            new Error("the server does not take TLS without being asked (sslnegotiation=direct)"),
          );
      });
    } catch (error) {
      socket.destroy(error as Error);
    }
  }

  #open(stream: Duplex): void {
    this.phase = "open";
    this.attachListeners(stream);
    this.emit("connect");
  }

  #report(error: Error & { code?: string }): void {
    if (this._ending && /^(ECONNRESET|EPIPE)$/.test(error.code ?? "")) return;
    this.emit("error", error);
  }
}
