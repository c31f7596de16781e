import type { Duplex } from "node:stream";
import pg from "pg";

/*
 * Everything that this service uses of pg and that neither its documentation nor its types promise. A new version may change
 * any of it: test/store/pg-internals.test.ts has a test for each.
 */

/** The messages of the server that are listened for before the driver does, by the names under which they are emitted. */
interface ServerMessages {
  readonly authenticationCleartextPassword: unknown;
  readonly authenticationMD5Password: unknown;
  readonly authenticationSASL: { readonly mechanisms: readonly string[] };
  readonly authenticationOk: unknown;
  readonly parameterStatus: { readonly parameterName: string; readonly parameterValue: string };
}

/** pg's connection: a stream, and the messages of the protocol. It may be extended. */
export interface PgConnection extends pg.Connection {
  /** Where the client writes to, and what it destroys. To be replaced once it is encrypted. */
  stream: Duplex;
  /** To be set by `connect`: a client that is ended before does not end its connection. */
  _connecting: boolean;
  /** Set by `end`, and when the client's timeout has ended the stream: what then goes wrong is not reported. */
  _ending: boolean;
  /** Called by the client, which waits for the events `connect` (it then calls `startup`), `error` and `end`. */
  connect(port: number, host: string): void;
  /** Has one listener for `data` parse what comes, and emit each message before it returns. */
  attachListeners(stream: Duplex): void;
  /** Writes an SSLRequest. */
  requestSsl(): void;
  /** Writes a StartupMessage. */
  startup(parameters: object): void;
  /** Writes a CancelRequest. */
  cancel(processID: number, secretKey: number): void;
}

export const PgConnection = pg.Connection as unknown as new (config: object) => PgConnection;

/**
 * Listens to messages of the server. The client adds its own listeners when it connects, and what is thrown here, before,
 * is thrown by the stream's listener for `data`: see {@link PgConnection.attachListeners}.
 */
export function onMessage<Name extends keyof ServerMessages>(
  connection: pg.Connection,
  name: Name,
  listener: (message: ServerMessages[Name]) => void,
): void {
  connection.on(name, listener);
}

/** What pg's client has besides what its types tell. */
interface ClientInternals {
  /** Called when the server asks for a password. */
  password: () => Promise<string>;
  /** What the StartupMessage is made of. The constructor has looked into the environment for what it was not given. */
  readonly connectionParameters: { password: unknown; options: string | undefined; replication: undefined };
  /** Read when the server offers SASL: whether SCRAM-SHA-256-PLUS is chosen where it is offered. */
  enableChannelBinding: boolean;
  /** An object during a SASL exchange; null once the server has proven that it knows the password. */
  readonly saslSession?: object | null;
  readonly connection: PgConnection;
  /** The server's BackendKeyData, with which a statement is cancelled. Null before it came. */
  readonly processID: number;
  readonly secretKey: number;
}

export function internalsOf(client: pg.Client): ClientInternals {
  return client as unknown as ClientInternals;
}

/** @returns options of a client that uses this connection instead of one of its own. */
export function withConnection(options: pg.ClientConfig, connection: PgConnection): pg.ClientConfig {
  return { ...options, connection } as pg.ClientConfig;
}

/** What a client calls on a query that is not its own ("Submittable"; pg-cursor is one), besides what its types tell. */
export interface PgQuery extends pg.Submittable {
  /** @param message the values as the server sent them. No description of them is needed. */
  handleDataRow(message: { readonly fields: readonly (string | null)[] }): void;
  /** @param message its text is the command tag. */
  handleCommandComplete(message: { readonly text: string }): void;
  handleReadyForQuery(): void;
  handleError(error: unknown): void;
}

/** @returns the error that pg ends with a connection whose timeout has passed. */
export function timeoutExpired(): Error {
  return new Error("timeout expired");
}

/** Whether the server closed a connection: an error of pg's without a code. */
export function isTerminated(error: unknown): boolean {
  return (error as Partial<Error>).message === "Connection terminated unexpectedly";
}

/** Whether a connection could not be opened since the server closed it or did not answer in time. */
export function isTerminatedOrTimeout(error: unknown): boolean {
  return /timeout|terminated unexpectedly/.test((error as Partial<Error>).message ?? "");
}
