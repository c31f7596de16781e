import { connect } from "node:net";
import pg from "pg";
import { internalsOf, onMessage } from "../../../../src/store/connections/pg-internals.ts";
import { type Message, message, messageReader } from "../../postgres-messages.ts";
import { cancelRequest } from "./startup.ts";

/** A statement, by the name under which all sessions prepare it. */
export interface Statement {
  readonly name: string;
  /** Its text, and the types of its parameters. */
  readonly definition: Buffer;
}

/** A session of the database, which clients use in turn. */
export interface Session {
  /** ParameterStatus: what a client is told when it connects. */
  readonly parameters: readonly Message[];
  send(message: Message): void;
  /** Prepares a statement, unless the session has. @param isAsked whether the client has sent Parse, and waits for ParseComplete. */
  prepare(statement: Statement, isAsked: boolean): void;
  /** The client has closed a statement, which the session keeps. */
  close(): void;
  /** Asks the database to end what runs. */
  cancel(): void;
  end(): void;
}

interface SessionOptions {
  /** Called with each message for the client. */
  readonly onAnswer: (answer: Message) => void;
  /** Called when the transaction has ended, and the client waits for nothing more. */
  readonly onIdle: () => void;
  readonly onEnd: () => void;
  /** Called for each Parse of a statement with a name. */
  readonly onParse: () => void;
}

/** By the type of a client's message, the types of those that tell that it has been done. */
const completions: Readonly<Record<string, string>> = {
  P: "1",
  B: "2",
  C: "3",
  D: "Tn",
  E: "CIs",
  S: "Z",
  Q: "Z",
};

const parseComplete = message("1");
const closeComplete = message("3");
/** The last byte of ReadyForQuery outside of a transaction. */
const idle = "I".charCodeAt(0);

/** A message that is to be completed. */
interface Pending {
  readonly type: string;
  /** Whether the session or the pooler completes it, and whether the client learns that. */
  readonly completion: "forward" | "drop" | "fake";
  /** The statement that it prepares. */
  readonly name?: string;
}

export async function openSession(databaseUrl: string, options: SessionOptions): Promise<Session> {
  const { onAnswer, onIdle, onEnd, onParse } = options;
  const { stream, parameters, processID, secretKey } = await authenticate(databaseUrl);
  const prepared = new Set<string>();
  const pending: Pending[] = [];
  const read = messageReader();
  stream.on("data", (chunk: Buffer) => read(chunk).forEach(receive));
  stream.on("error", () => {});
  stream.on("close", onEnd);

  function receive(received: Message): void {
    if (received.type === "E") skipToSync();
    const [first] = pending;
    const completes = completions[first?.type ?? ""]?.includes(received.type) === true;
    if (completes) pending.shift();
    if (!completes || first?.completion === "forward") onAnswer(received);
    completeFakes();
    if (received.type === "Z" && pending.length === 0 && received.bytes.at(-1) === idle) onIdle();
  }

  /** After an error, PostgreSQL skips all that comes before Sync: neither is it completed, nor does it prepare anything. */
  function skipToSync(): void {
    const end = pending.findIndex(({ type }) => type === "S" || type === "Q");
    for (const { name } of pending.splice(0, end === -1 ? pending.length : end)) {
      if (name !== undefined) prepared.delete(name);
    }
  }

  function completeFakes(): void {
    while (pending[0]?.completion === "fake") {
      onAnswer(pending.shift()?.type === "P" ? parseComplete : closeComplete);
    }
  }

  function fake(type: string): void {
    pending.push({ type, completion: "fake" });
    completeFakes();
  }

  return {
    parameters,
    send({ type, bytes }) {
      if (type in completions) pending.push({ type, completion: "forward" });
      stream.write(bytes);
    },
    prepare({ name, definition }, isAsked) {
      if (prepared.has(name)) {
        if (isAsked) fake("P");
        return;
      }
      prepared.add(name);
      onParse();
      pending.push({ type: "P", completion: isAsked ? "forward" : "drop", name });
      stream.write(message("P", name, definition).bytes);
    },
    close: () => fake("C"),
    cancel() {
      const { hostname, port } = new URL(databaseUrl);
      connect(Number(port), hostname)
        .on("error", () => {})
        .end(cancelRequest(processID, secretKey));
    },
    end: () => void stream.destroy(),
  };
}

/** Has pg open a session, since it knows every kind of authentication, and takes its socket. */
async function authenticate(databaseUrl: string) {
  const client = new pg.Client({ connectionString: databaseUrl });
  const { connection } = internalsOf(client);
  const parameters: Message[] = [];
  onMessage(connection, "parameterStatus", ({ parameterName, parameterValue }) => {
    parameters.push(message("S", parameterName, parameterValue));
  });
  await client.connect();
  const { processID, secretKey } = internalsOf(client);
  const { stream } = connection;
  for (const event of ["data", "error", "end", "close"]) stream.removeAllListeners(event);
  return { stream, parameters, processID, secretKey };
}
