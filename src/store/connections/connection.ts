import type { Socket } from "node:net";
import pg from "pg";
import { readTarget, type SessionAttrs, type Target } from "../url/target.ts";
import { AuthenticationRefused, enforceAuthentication } from "./authentication.ts";
import { endsAllConnections, isConnectionLost } from "./connection-loss.ts";
import { createHosts, type Hosts, onlyHost } from "./hosts.ts";
import { findPassword } from "./password-file.ts";
import { internalsOf, isTerminatedOrTimeout, timeoutExpired, withConnection } from "./pg-internals.ts";
import { watchSession } from "./session-attrs.ts";
import { Transport } from "./transport.ts";

/** Shared by the connections of one pool. */
interface Generation {
  /** When the server last ended all its connections, as far as is known. What was opened before is not used again. */
  startedAt: number;
}

/** Every option that the driver would take from the environment is given. */
export interface ConnectionConfig extends pg.ClientConfig {
  readonly target: Target;
  readonly hosts: Hosts;
  readonly generation: Generation;
}

/** @param connectTimeout in milliseconds, unless the URL has one. */
export function connectionConfig(url: string, connectTimeout: number): ConnectionConfig {
  const target = readTarget(url);
  const { user, database, applicationName } = target;
  const timeout = target.connectTimeout ?? connectTimeout;
  return {
    user,
    database,
    host: target.ways[0].host,
    port: target.ways[0].port,
    // The driver asks Connection for the password, and leaves TLS to Transport.
    ssl: false,
    sslnegotiation: "postgres",
    application_name: applicationName,
    connectionTimeoutMillis: timeout,
    target,
    hosts: createHosts(target, timeout / 2),
    generation: { startedAt: 0 },
  };
}

type Opened = (error?: Error) => void;

/** How long, in milliseconds, the server may take to close a connection whose session was ended. */
const endTimeout = 500;

/** A client that chooses its host, and knows when it must not be used any more. */
export class Connection extends pg.Client {
  readonly #openedAt = performance.now();
  readonly #config: ConnectionConfig;
  readonly #transport: Transport;
  readonly #session: ReturnType<typeof watchSession>;
  #wanted: SessionAttrs = "any";
  #isLost = false;
  #isRetired = false;
  #stopOpening = () => {};

  constructor(config: ConnectionConfig) {
    const { target } = config;
    const transport = new Transport(target);
    super(withConnection(config, transport));
    this.#config = config;
    this.#transport = transport;
    // Where it is given nothing, the driver has looked for PGPASSWORD, PGOPTIONS and PGREPLICATION.
    const internals = internalsOf(this);
    internals.password = () => this.#findPassword();
    Object.assign(internals.connectionParameters, {
      password: undefined,
      options: target.options,
      replication: undefined,
    });
    enforceAuthentication(this, transport, target);
    this.#session = watchSession(this, transport, () => {
      if (this.#session.mismatch(this.#wanted) !== undefined) this.retire();
    });
    this.on("error", (error) => this.#noteLoss(error));

    const connect = this.connect.bind(this) as (opened: Opened) => void;
    this.connect = ((opened: Opened) => this.#open(connect, opened)) as typeof this.connect;

    const query = this.query.bind(this) as (...args: unknown[]) => unknown;
    const watched = (...args: unknown[]): unknown => {
      const result = query(...args);
      if (!(result instanceof Promise)) return result;
      return result.catch((error: unknown) => {
        if (isConnectionLost(error)) this.closeLost(error);
        throw error;
      });
    };
    this.query = watched as typeof this.query;
  }

  /** Whether it may be used again. */
  get isUsable(): boolean {
    return !this.#isRetired && !this.isLost;
  }

  /** Whether it is closed, or leads to a server that has ended all connections. */
  get isLost(): boolean {
    return this.#isLost || this.#openedAt < this.#config.generation.startedAt;
  }

  /** Closes a connection that is lost. @param error why: some errors end the others, too. */
  closeLost(error: unknown): void {
    this.#noteLoss(error);
    this.close();
  }

  /** It is not used again: it leads to the wrong server, or another one replaces it. That tells nothing about the others. */
  retire(): void {
    this.#isRetired = true;
  }

  /** Ends the session of a connection that is not in use, as the protocol says: poolers take anything else for a failure. */
  endSession(): void {
    this.#isRetired = true;
    const timer = setTimeout(() => this.#transport.stream.destroy(), endTimeout).unref();
    this.once("end", () => clearTimeout(timer));
    void this.end();
  }

  /**
   * Closes it without a Terminate message, since a stopped server would not take it. A fatal error comes before the socket
   * closes: released in between, the client would be used once more. One that has been asked to end is not.
   */
  close(): void {
    this.#isLost = true;
    this.#stopOpening();
    void this.end();
    this.#transport.stream.destroy();
  }

  /** @returns a new one that leads to the very same server. @param timeout to open it, in milliseconds. */
  duplicate(timeout: number): Connection {
    const { way, stream } = this.#transport;
    const { remoteAddress: address = way.address } = stream as Socket;
    const hosts = onlyHost({ ...way, address });
    const generation = { startedAt: 0 };
    return new Connection({ ...this.#config, connectionTimeoutMillis: timeout, hosts, generation });
  }

  #open(connect: (opened: Opened) => void, opened: Opened): void {
    const { hosts } = this.#config;
    const transport = this.#transport;
    let isSettled = false;
    let isResolved = false;
    const settle: Opened = (error) => {
      // A server that goes on after an error makes the driver call back twice.
      if (isSettled) return;
      isSettled = true;
      clearTimeout(timer);
      // The pool forgets a client that could not be opened; the database may not know that it failed.
      if (error) this.close();
      else hosts.succeeded({ way: transport.way, sessionAttrs: this.#wanted });
      opened(error);
    };
    const fail = (error: Error) => {
      if (!isSettled) hosts.failed(transport.way, error, isForLackOfEncryption(error, transport));
      settle(error);
    };
    // The driver's own timeout covers neither the resolver nor the check of the session.
    const expire = () => (isResolved ? fail : settle)(timeoutExpired());
    const timer = setTimeout(expire, this.#config.connectionTimeoutMillis);
    // The driver does not call back once it was told to end.
    this.#stopOpening = () => settle(new Error("the connection was closed before it was open"));
    hosts.next().then(({ way, sessionAttrs }) => {
      if (isSettled) return;
      isResolved = true;
      transport.way = way;
      this.#wanted = sessionAttrs;
      connect((error) => {
        if (error) fail(error);
        else this.#session.check(sessionAttrs).then(() => settle(), fail);
      });
    }, settle);
  }

  async #findPassword(): Promise<string> {
    const { target } = this.#config;
    const { password, passfile } = target;
    const found = password ?? (passfile && (await findPassword(passfile, target, this.#transport.way)));
    if (!found) throw new AuthenticationRefused("the server asks for a password, and none is given");
    return found;
  }

  #noteLoss(error: unknown): void {
    // The errors of a connection that this service has closed itself tell nothing about the server.
    if (!this.#isRetired && !this.#isLost && endsAllConnections(error)) {
      this.#config.generation.startedAt = performance.now();
    }
    this.#isLost = true;
  }
}

/** Whether a server that was connected to may take the connection with TLS where it was without, or the other way round. */
function isForLackOfEncryption(error: Error, { phase, encrypted, way }: Transport): boolean {
  if (phase === "encrypting") return !isTerminatedOrTimeout(error);
  const couldDiffer = encrypted || way.encryption === "none";
  return couldDiffer && error instanceof pg.DatabaseError && error.code?.startsWith("28") === true;
}
