import type { Socket } from "node:net";
import { int32, type Message, message, messageReader, readText } from "../../postgres-messages.ts";
import type { Session, Statement } from "./session.ts";
import type { Sessions } from "./sessions.ts";

/** How many messages of clients there were. */
export interface Counts {
  /** Parse of a statement with a name. */
  parses: number;
  /** Bind of a statement with a name, and of the one without. */
  named: number;
  unnamed: number;
}

interface ClientOptions {
  readonly sessions: Sessions;
  /** ParameterStatus. */
  readonly parameters: readonly Message[];
  /** With which the client cancels what it runs. */
  readonly key: number;
  readonly counts: Counts;
  /** @returns the statement that all sessions prepare for a definition. */
  readonly statementFor: (definition: Buffer) => Statement;
}

/** Serves a client that has sent its StartupMessage. @returns a function that cancels what the client runs. */
export function serveClient(socket: Socket, options: ClientOptions): () => void {
  const { sessions, parameters, key, counts, statementFor } = options;
  /** The client's prepared statements, by its names. */
  const statements = new Map<string, Statement>();
  const received: Message[] = [];
  const read = messageReader();
  let session: Session | undefined;
  let isSending = false;

  for (const { bytes } of [
    message("R", int32(0)),
    ...parameters,
    message("K", int32(key), int32(key)),
    message("Z", Buffer.from("I")),
  ]) {
    socket.write(bytes);
  }
  socket.on("data", (chunk: Buffer) => {
    received.push(...read(chunk));
    if (!isSending) void send();
  });
  // The next client must not go on in a transaction of this one.
  socket.once("close", () => session?.end());

  async function send(): Promise<void> {
    isSending = true;
    for (let next = received.shift(); next !== undefined; next = received.shift()) {
      if (next.type === "X") break;
      session ??= await sessions.take({
        onAnswer: ({ bytes }) => void socket.write(bytes),
        onReleased() {
          session = undefined;
        },
        onLost: () => socket.destroy(),
      });
      if (socket.destroyed) session.end();
      else forward(next, session);
    }
    isSending = false;
  }

  function forward(sent: Message, to: Session): void {
    const { text, end, rest } = readText(sent);
    if (sent.type === "P" && text !== "") parse(text, rest, to);
    else if (sent.type === "B") bind(sent, text, end, to);
    // The content of Close begins with S when it names a statement.
    else if (sent.type === "C" && text.startsWith("S") && text !== "S") {
      statements.delete(text.slice(1));
      to.close();
    } else to.send(sent);
  }

  function parse(name: string, definition: Buffer, to: Session): void {
    counts.parses++;
    if (statements.has(name)) {
      refuse("prepared statement name is already in use");
      return;
    }
    const statement = statementFor(definition);
    statements.set(name, statement);
    to.prepare(statement, true);
  }

  function bind(sent: Message, portal: string, end: number, to: Session): void {
    const { text: name, rest } = readText(sent, end);
    counts[name === "" ? "unnamed" : "named"]++;
    const statement = statements.get(name);
    if (name === "") to.send(sent);
    else if (statement === undefined) refuse("prepared statement did not exist");
    else {
      to.prepare(statement, false);
      to.send(message("B", portal, statement.name, rest));
    }
  }

  function refuse(reason: string): void {
    received.length = 0;
    const fields = ["SFATAL", "VFATAL", "C08P01", `M${reason}`, ""];
    socket.end(message("E", ...fields).bytes);
    session?.end();
  }

  return () => session?.cancel();
}
