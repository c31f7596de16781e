import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type Counts, serveClient } from "./client.ts";
import type { Statement } from "./session.ts";
import { createSessions } from "./sessions.ts";
import { readStartup } from "./startup.ts";

/**
 * A stand-in for pgbouncer 1.21 and later in transaction mode with `max_prepared_statements`, which no registry that the
 * tests install from has. As there, a client's name for a statement is mapped to one for its text, the same in all sessions;
 * a session prepares the statement when a client first needs it there; the pooler itself answers Close, and the session
 * keeps the statement; a client that prepares a name twice, or binds one that it has not prepared, is disconnected.
 *
 * It authenticates no client, and has no limit on statements. The named statements that a client describes, rather than its
 * portals, and SQL's own PREPARE are not mapped.
 */
export interface StatementPooler extends AsyncDisposable {
  /** The database's URL through the pooler. */
  readonly url: string;
  readonly counts: Readonly<Counts & { readonly parsesOfSessions: number }>;
}

/** @param size the number of sessions. With fewer than there are clients, a client's transactions are in different ones. */
export async function startStatementPooler(databaseUrl: string, size = 3): Promise<StatementPooler> {
  const counts = { parses: 0, named: 0, unnamed: 0, parsesOfSessions: 0 };
  const statements = new Map<string, Statement>();
  const sockets = new Set<Socket>();
  /** By the keys that the clients were given. */
  const cancels = new Map<number, () => void>();
  const sessions = createSessions(databaseUrl, size, () => counts.parsesOfSessions++);
  const parameters = await sessions.parameters();

  function statementFor(definition: Buffer): Statement {
    const text = definition.toString("latin1");
    const statement = statements.get(text) ?? { name: `POOLER_${statements.size + 1}`, definition };
    statements.set(text, statement);
    return statement;
  }

  let key = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    readStartup(socket, {
      onStartup() {
        const own = ++key;
        cancels.set(own, serveClient(socket, { sessions, parameters, key: own, counts, statementFor }));
        socket.once("close", () => cancels.delete(own));
      },
      onCancel: (of) => cancels.get(of)?.(),
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = new URL(databaseUrl);
  url.port = String((server.address() as AddressInfo).port);

  return {
    url: url.href,
    counts,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      sessions[Symbol.dispose]();
      await once(server, "close");
    },
  };
}
