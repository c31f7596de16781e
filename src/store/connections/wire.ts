import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import pg from "pg";
import type { Target, Way } from "../url/target.ts";
import { tlsOptionsOf } from "./tls.ts";

/** What pg's connection has besides what its types tell. */
interface DriverConnection extends pg.Connection {
  stream: Duplex;
  _connecting: boolean;
  _ending: boolean;
  attachListeners(stream: Duplex): void;
  requestSsl(): void;
}

const DriverConnection = pg.Connection as unknown as new (config: object) => DriverConnection;

/** The first byte of the answer to an SSLRequest. */
const willing = 0x53;
const unwilling = 0x4e;

/** The way to a server, as far as to the first message of the protocol: sockets and TLS. The rest is the driver's. */
export class Wire extends DriverConnection {
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

  /** The driver then sends what a session begins with on `connect`: the connection is encrypted, or is not going to be. */
  connect(): void {
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

  /** Bytes that are not PostgreSQL's make pg's parser throw where nobody can catch it: here they cost the connection. */
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
      // More than the one byte comes from an attacker in between, who cannot speak TLS (CVE-2021-23222).
      const word = answer.length === 1 ? answer[0] : undefined;
      if (word === willing) this.#encrypt(socket);
      else if (word !== unwilling) socket.destroy(new Error("the server does not say whether it speaks TLS"));
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
