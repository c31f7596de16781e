import type { Socket } from "node:net";
import pg from "pg";
import { readTarget, type SessionAttrs, type Target } from "../url/target.ts";
import { AuthenticationRefused, demandProof } from "./authentication.ts";
import { endsAllConnections, isConnectionLost } from "./connection-loss.ts";
import { createHosts, type Hosts, onlyHost } from "./hosts.ts";
import { findPassword } from "./password-file.ts";
import { watchSession } from "./session-attrs.ts";
import { Wire } from "./wire.ts";

/** What connections of one pool know of each other. */
interface Trust {
  /** When the server last ended all its connections, as far as is known. What was opened before is not used again. */
  since: number;
}

/** Everything that the driver takes from the environment where it is not given is given. */
export interface ConnectionConfig extends pg.ClientConfig {
  readonly target: Target;
  readonly hosts: Hosts;
  readonly trust: Trust;
}

/** @param connectTimeout in milliseconds, unless the URL says how long. */
export function connectionConfig(url: string, connectTimeout: number): ConnectionConfig {
  const target = readTarget(url);
  const { user, database, applicationName } = target;
  const timeout = target.connectTimeout ?? connectTimeout;
  return {
    user,
    database,
    host: target.ways[0].host,
    port: target.ways[0].port,
    // The driver asks Connection for the password, and leaves TLS to Wire.
    ssl: false,
    sslnegotiation: "postgres",
    application_name: applicationName,
    connectionTimeoutMillis: timeout,
    target,
    hosts: createHosts(target, timeout / 2),
    trust: { since: 0 },
  };
}

/** What pg's client has besides what its types tell. */
interface DriverClient {
  password: () => Promise<string>;
  readonly connectionParameters: { password: unknown; options: string | undefined; replication: undefined };
}

type Opened = (error?: Error) => void;

/** A client that knows when it has become useless. */
export class Connection extends pg.Client {
  readonly #openedAt = performance.now();
  readonly #config: ConnectionConfig;
  readonly #wire: Wire;
  readonly #session: ReturnType<typeof watchSession>;
  #wanted: SessionAttrs = "any";
  #lost = false;

  constructor(config: ConnectionConfig) {
    const { target } = config;
    const wire = new Wire(target);
    super({ ...config, connection: wire } as pg.ClientConfig);
    this.#config = config;
    this.#wire = wire;
    // Where it is given nothing, the driver has looked for PGPASSWORD, PGOPTIONS and PGREPLICATION.
    const driver = this as unknown as DriverClient;
    driver.password = () => this.#findPassword();
    Object.assign(driver.connectionParameters, {
      password: undefined,
      options: target.options,
      replication: undefined,
    });
    demandProof(this, wire, target);
    this.#session = watchSession(this, wire, () => {
      if (this.#session.mismatch(this.#wanted) !== undefined) this.retire();
    });
    // The pool listens while the client is idle, and nobody while it is checked out.
    this.on("error", (error) => this.#lose(error));

    const connect = this.connect.bind(this) as (opened: Opened) => void;
    this.connect = ((opened: Opened) => this.#open(connect, opened)) as typeof this.connect;

    const query = this.query.bind(this) as (...args: unknown[]) => unknown;
    const watched = (...args: unknown[]): unknown => {
      const result = query(...args);
      if (!(result instanceof Promise)) return result;
      return result.catch((error: unknown) => {
        if (isConnectionLost(error)) this.lose(error);
        throw error;
      });
    };
    this.query = watched as typeof this.query;
  }

  /** Whether it is not to be used again. */
  get lost(): boolean {
    return this.#lost || this.#openedAt < this.#config.trust.since;
  }

  /** It is bad, and is closed. @param error why: some errors end the others, too. */
  lose(error: unknown): void {
    this.#lose(error);
    this.close();
  }

  /** It leads where we do not want to be, or does not answer, which says nothing about the others: it is not used again. */
  retire(): void {
    this.#lost = true;
  }

  /**
   * Closes it without a farewell, for which a stopped server would keep us waiting. A fatal error comes before the
   * socket closes: released in between, the client would be handed out once more. One that has been asked to end is not.
   */
  close(): void {
    this.#lost = true;
    void this.end();
    this.#wire.stream.destroy();
  }

  /** A new one that leads to the very same server. @param timeout to open it, in milliseconds. */
  another(timeout: number): Connection {
    const { way, stream } = this.#wire;
    const { remoteAddress: address = way.address } = stream as Socket;
    const hosts = onlyHost({ ...way, address });
    return new Connection({ ...this.#config, connectionTimeoutMillis: timeout, hosts, trust: { since: 0 } });
  }

  #open(connect: (opened: Opened) => void, opened: Opened): void {
    const { hosts } = this.#config;
    const wire = this.#wire;
    let isSettled = false;
    const settle: Opened = (error) => {
      // A server that goes on after an error makes the driver tell twice.
      if (isSettled) return;
      isSettled = true;
      // The pool forgets a client that could not be opened; the database may not know that it failed.
      if (error) this.close();
      else hosts.worked({ way: wire.way, sessionAttrs: this.#wanted });
      opened(error);
    };
    const fail = (error: Error) => {
      if (!isSettled) hosts.failed(wire.way, error, isForLackOfEncryption(error, wire));
      settle(error);
    };
    // The pool ends what takes too long, and it may be the resolver that does.
    const giveUp = () => settle(new Error("timeout expired"));
    wire.stream.once("close", giveUp);
    hosts.next().then(({ way, sessionAttrs }) => {
      wire.stream.off("close", giveUp);
      if (wire.stream.destroyed) giveUp();
      if (isSettled) return;
      wire.way = way;
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
    const found = password ?? (passfile && (await findPassword(passfile, target, this.#wire.way)));
    if (!found) throw new AuthenticationRefused("the server asks for a password, and none is given");
    return found;
  }

  #lose(error: unknown): void {
    // What comes of a connection that we have given up ourselves is no news.
    if (!this.#lost && endsAllConnections(error)) this.#config.trust.since = performance.now();
    this.#lost = true;
  }
}

/** Whether a server that was connected to may take the connection with TLS where it was without, or the other way round. */
function isForLackOfEncryption(error: Error, { phase, encrypted, way }: Wire): boolean {
  if (phase === "encrypting") return !/timeout|terminated unexpectedly/.test(error.message);
  const couldDiffer = encrypted || way.encryption === "none";
  return couldDiffer && error instanceof pg.DatabaseError && error.code?.startsWith("28") === true;
}
