import { once } from "node:events";
import { PassThrough } from "node:stream";
import { CompiledQuery } from "kysely";
import pg from "pg";
import { expect, inject, test, vi } from "vitest";
import {
  internalsOf,
  isTerminated,
  isTerminatedOrTimeout,
  onMessage,
  PgConnection,
  timeoutExpired,
  withConnection,
} from "../../src/store/connections/pg-internals.ts";
import { TextQuery } from "../../src/store/reads/text-query.ts";
import { serverMessages, startFakePostgres } from "../support/fake-postgres.ts";

// What the service uses of pg and pg does not promise, each by the name under which it is used. A test that fails after an
// update of pg names what has changed.

/** A connection over a stream that leads nowhere, and what was written to it. */
function onStream() {
  const stream = new PassThrough();
  const connection = new PgConnection({ stream });
  return { stream, connection, written: () => (stream.read() as Buffer | null)?.toString("hex") };
}

/** A connection whose StartupMessages are kept, and not sent. */
class Unsent extends PgConnection {
  readonly startups: object[] = [];

  constructor() {
    super({ stream: new PassThrough() });
  }

  override connect(): void {
    this._connecting = true;
    setImmediate(() => this.emit("connect"));
  }

  override startup(parameters: object): void {
    this.startups.push(parameters);
  }
}

function clientOf(connection: PgConnection): pg.Client {
  const client = new pg.Client(withConnection({ user: "app", database: "jobs" }, connection));
  client.on("error", () => {});
  return client;
}

const authenticationOk = serverMessages.welcome.subarray(0, 9);

test("Client: the option `connection` is the connection that the client uses", () => {
  const connection = new Unsent();
  expect(internalsOf(clientOf(connection)).connection).toBe(connection);
});

test("Client: it calls `connect` of its connection, and `startup` on the event `connect`", async () => {
  const connection = new Unsent();
  clientOf(connection).connect(() => {});
  await once(connection, "connect");
  expect(connection.startups).toEqual([expect.objectContaining({ user: "app", database: "jobs" })]);
});

test("Client: `connectionParameters` hold what it found in the environment, and are what the StartupMessage is made of", async () => {
  vi.stubEnv("PGPASSWORD", "of another");
  vi.stubEnv("PGOPTIONS", "-c search_path=other");
  vi.stubEnv("PGREPLICATION", "database");
  const connection = new Unsent();
  const client = clientOf(connection);
  vi.unstubAllEnvs();
  const { connectionParameters } = internalsOf(client);
  expect(connectionParameters).toMatchObject({ options: "-c search_path=other", replication: "database" });
  expect(connectionParameters.password).toBe("of another");
  const parameters = { options: "-c search_path=jobs", replication: undefined, password: undefined };
  Object.assign(connectionParameters, parameters);
  client.connect(() => {});
  await once(connection, "connect");
  expect(connection.startups).toEqual([{ user: "app", database: "jobs", options: "-c search_path=jobs" }]);
});

test("Client: `password` is called when the server asks for one, and not before", async () => {
  await using server = await startFakePostgres([serverMessages.cleartext]);
  const client = new pg.Client({ host: "127.0.0.1", port: server.port });
  client.on("error", () => {});
  let calls = 0;
  internalsOf(client).password = () => {
    calls++;
    return Promise.resolve("from the function");
  };
  expect(calls).toBe(0);
  client.connect(() => {});
  await expect.poll(() => server.received).toContain("from the function");
  expect(calls).toBe(1);
  await client.end();
});

test("Client: `enableChannelBinding` decides which SCRAM mechanism is chosen, when the server offers them", async () => {
  for (const [enabled, message] of [
    [false, /^SCRAM-SHA-256\0/],
    [true, /^SASL: Mechanism SCRAM-SHA-256-PLUS requires a certificate$/],
  ] as const) {
    const { connection, stream } = onStream();
    const client = clientOf(connection);
    internalsOf(client).password = () => Promise.resolve("hunter2");
    const told = Promise.withResolvers<string>();
    stream.write = ((chunk: Buffer) => told.resolve(chunk.toString("latin1").slice(5))) as never;
    connection.connect = () => {};
    client.connect((error: Error) => told.resolve(error.message));
    onMessage(connection, "authenticationSASL", () => {});
    internalsOf(client).enableChannelBinding = enabled;
    connection.emit("authenticationSASL", { mechanisms: ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] });
    expect(await told.promise).toMatch(message);
  }
});

test("Client: `saslSession` is an object during the exchange, and null once the server has proven itself", async () => {
  const client = new pg.Client(inject("postgresUrl"));
  const seen: unknown[] = [];
  const note = () => seen.push(internalsOf(client).saslSession);
  const { connection } = internalsOf(client);
  connection.on("authenticationSASLContinue", note);
  onMessage(connection, "authenticationOk", note);
  await client.connect();
  expect(seen).toEqual([expect.any(Object), null]);
  await client.end();
});

test("Client: `processID` and `secretKey` are the server's BackendKeyData", async () => {
  const client = new pg.Client(inject("postgresUrl"));
  const { connection } = internalsOf(client);
  const keyData = once(connection, "backendKeyData");
  await client.connect();
  const [{ processID, secretKey }] = await keyData;
  expect(internalsOf(client)).toMatchObject({ processID, secretKey });
  expect((await client.query("select pg_backend_pid() as pid")).rows).toEqual([{ pid: processID }]);
  expect(secretKey).toEqual(expect.any(Number));
  await client.end();
});

test("Client: its listeners for messages come after those that are added before it connects", () => {
  const connection = new Unsent();
  const client = clientOf(connection);
  const names = [
    "authenticationCleartextPassword",
    "authenticationMD5Password",
    "authenticationSASL",
  ] as const;
  const first = () => {};
  for (const name of names) onMessage(connection, name, first);
  client.connect(() => {});
  for (const name of names) {
    expect(connection.listeners(name)[0]).toBe(first);
    expect(connection.listenerCount(name)).toBe(2);
  }
});

test("Client: `end` ends its connection once `_connecting` is set, and not before", async () => {
  const connection = new Unsent();
  const client = clientOf(connection);
  let ended = 0;
  connection.end = () => {
    ended++;
    setImmediate(() => connection.emit("end"));
  };
  await client.end();
  expect(ended).toBe(0);
  connection._connecting = true;
  await client.end();
  expect(ended).toBe(1);
});

test("Client: it calls `submit` and the handlers of a query that is not its own, without a description of the rows", async () => {
  const client = new pg.Client(inject("postgresUrl"));
  await client.connect();
  const calls: unknown[] = [];
  const done = Promise.withResolvers<void>();
  const query = {
    submit({ stream }: pg.Connection) {
      stream.write(unnamed("select 1, null"));
    },
    handleDataRow: ({ fields }: { fields: readonly (string | null)[] }) => calls.push(fields),
    handleCommandComplete: ({ text }: { text: string }) => calls.push(text),
    handleReadyForQuery: () => done.resolve(),
    handleError: (error: Error) => done.reject(error),
  };
  client.query(query);
  await done.promise;
  expect(calls).toEqual([["1", null], "SELECT 1"]);

  const failed = Promise.withResolvers<unknown>();
  client.query({
    ...query,
    submit: ({ stream }: pg.Connection) => void stream.write(unnamed("no statement")),
    handleError: (error: unknown) => failed.resolve(error),
  } as pg.Submittable);
  expect(await failed.promise).toMatchObject({ code: "42601" });
  await client.end();
});

/** Parse, Bind, Execute and Sync of an unnamed statement without parameters. */
function unnamed(sql: string): Buffer {
  const message = (type: string, body: Buffer) => {
    const head = Buffer.alloc(5, type);
    head.writeInt32BE(4 + body.length, 1);
    return Buffer.concat([head, body]);
  };
  return Buffer.concat([
    message("P", Buffer.from(`\0${sql}\0\0\0`)),
    message("B", Buffer.alloc(8)),
    message("E", Buffer.alloc(5)),
    message("S", Buffer.alloc(0)),
  ]);
}

test("Client: a query that is not its own may close a prepared statement, and prepare one by that name", async () => {
  const client = new pg.Client(inject("postgresUrl"));
  await client.connect();
  for (const value of ["first", "second"]) {
    const query = new TextQuery([CompiledQuery.raw("select $1::text", [value])], {
      has: () => false,
      mayPrepare: () => true,
      add() {},
    });
    expect(await client.query(query).rows).toEqual([[value]]);
  }
  await client.end();
});

test("Connection: `attachListeners` has one listener for `data`, which emits each message before it returns", () => {
  const { stream, connection } = onStream();
  connection.attachListeners(stream);
  const listeners = stream.listeners("data");
  expect(listeners).toHaveLength(1);
  const seen: unknown[] = [];
  onMessage(connection, "authenticationCleartextPassword", () => seen.push("cleartext"));
  onMessage(connection, "authenticationMD5Password", () => seen.push("md5"));
  onMessage(connection, "authenticationSASL", ({ mechanisms }) => seen.push(mechanisms));
  onMessage(connection, "authenticationOk", () => seen.push("ok"));
  onMessage(connection, "parameterStatus", ({ parameterName, parameterValue }) =>
    seen.push([parameterName, parameterValue]),
  );
  const reported = Buffer.from("S\0\0\0\x16in_hot_standby\0on\0", "latin1");
  const messages = [
    serverMessages.cleartext,
    serverMessages.md5,
    serverMessages.sasl("SCRAM-SHA-256"),
    authenticationOk,
    reported,
  ];
  listeners[0]?.(Buffer.concat(messages));
  expect(seen).toEqual(["cleartext", "md5", ["SCRAM-SHA-256"], "ok", ["in_hot_standby", "on"]]);
});

test("Connection: what a listener for a message throws is thrown by the listener for `data`", () => {
  const { stream, connection } = onStream();
  connection.attachListeners(stream);
  onMessage(connection, "authenticationOk", () => {
    throw new Error("refused");
  });
  expect(() => stream.listeners("data")[0]?.(authenticationOk)).toThrow("refused");
});

test("Connection: bytes that are no message are thrown by the listener for `data`", () => {
  const { stream, connection } = onStream();
  connection.attachListeners(stream);
  expect(() => stream.listeners("data")[0]?.(Buffer.from("R\0\0\0\x08\x7f\x7f\x7f\x7f"))).toThrow();
});

test("Connection: `requestSsl` writes an SSLRequest", () => {
  const { connection, written } = onStream();
  connection.requestSsl();
  expect(written()).toBe("0000000804d2162f");
});

test("Connection: `cancel` writes a CancelRequest", () => {
  const { connection, written } = onStream();
  connection.cancel(42, -7);
  expect(written()).toBe("0000001004d2162e0000002afffffff9");
});

test("Connection: `stream` is the one that it was given, and what is written goes to its successor", () => {
  const { connection, stream } = onStream();
  expect(connection.stream).toBe(stream);
  const successor = new PassThrough();
  connection.stream = successor;
  connection.cancel(42, -7);
  expect(successor.read()).not.toBeNull();
  expect(stream.read()).toBeNull();
});

test("Connection: without options it has a socket that is not connected, and `end` sets `_ending`", () => {
  const connection = new PgConnection({});
  expect(connection.stream).toMatchObject({ connecting: false, pending: true });
  expect(connection._ending).toBe(false);
  connection.end();
  expect(connection._ending).toBe(true);
  connection.stream.destroy();
});

test("the error of a connection that the server closes is known by its message", async () => {
  await using server = await startFakePostgres([]);
  const client = new pg.Client({ host: "127.0.0.1", port: server.port });
  const failure = client.connect().then(
    () => undefined,
    (error: unknown) => error,
  );
  await expect.poll(() => server.clients).toBe(1);
  await server[Symbol.asyncDispose]();
  expect(isTerminated(await failure)).toBe(true);
  expect(isTerminatedOrTimeout(await failure)).toBe(true);
  expect(await failure).not.toHaveProperty("code");
});

test("the error of a connection whose timeout has passed is known by its message, and ends the stream with `_ending`", async () => {
  await using server = await startFakePostgres([]);
  const client = new pg.Client({ host: "127.0.0.1", port: server.port, connectionTimeoutMillis: 50 });
  const error: unknown = await client.connect().catch((reason: unknown) => reason);
  expect(error).toEqual(timeoutExpired());
  expect(isTerminatedOrTimeout(error)).toBe(true);
  expect(isTerminated(error)).toBe(false);
  expect(internalsOf(client).connection).toMatchObject({ _ending: true, stream: { destroyed: true } });
});
