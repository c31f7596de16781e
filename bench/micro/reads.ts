import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import pg from "pg";
import { Call } from "../../src/status/call.ts";
import { parseReqId } from "../../src/status/req-id.ts";
import { openConnections } from "../../src/store/connections/connections.ts";
import { startEmbedded } from "../../src/store/embedded/embedded.ts";
import { createPreparedStatements } from "../../src/store/reads/prepared-statements.ts";
import { createReader } from "../../src/store/reads/reader.ts";
import { statusQueries } from "../../src/store/reads/status-query.ts";
import { createStatusStore } from "../../src/store/reads/status-store.ts";
import { migrate } from "../../src/store/schema/migrate.ts";
import { compare, repeatAsync } from "./compare.ts";

/** Compares statements and coalesced reads, on a PostgreSQL of its own. */
export async function compareReads(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "gomemory-status-micro-"));
  try {
    await using postgres = await startEmbedded({ directory, settings: { fsync: "off" } });
    const options = {
      url: postgres.url,
      size: 4,
      connectTimeout: 1_000,
      onLost: () => {},
    };
    await using connections = openConnections(options);
    const { db } = connections;
    const pool = new pg.Pool({ connectionString: postgres.url, max: options.size });
    await migrate(db);
    const ids = Array.from({ length: 10_000 }, () => parseReqId(randomUUID()));
    await sql`insert into memory_job (req_id, status) select id, 'success' from unnest(${ids}::uuid[]) id`.execute(
      db,
    );

    const select = (batch: readonly string[]) =>
      db
        .selectFrom("memory_job")
        .select(["req_id", "status", "error", sql<number>`date_part('epoch', created_at)`.as("created_at")])
        .where("req_id", "=", sql<string>`any(${`{${batch.join()}}`}::uuid[])`)
        .where("created_at", ">", sql<Date>`now() - make_interval(secs => ${"86400"})`);
    const reader = createReader(connections);
    const batch = ids.slice(0, 16);
    const compiled = select(batch).compile();
    await compare("a statement for 16 ids, one after the other", 1_000, [
      { name: "reader.ts", run: repeatAsync(() => reader.start(compiled).rows) },
      {
        name: "pg, rows as arrays of text",
        run: repeatAsync(() =>
          pool.query({
            text: compiled.sql,
            values: compiled.parameters as string[],
            rowMode: "array",
            types: { getTypeParser: () => (text: string) => text },
          }),
        ),
      },
      {
        name: "pg, rows as objects",
        run: repeatAsync(() => pool.query(compiled.sql, compiled.parameters as string[])),
      },
      { name: "Kysely, compiled once", run: repeatAsync(() => db.executeQuery(compiled)) },
      { name: "Kysely, built each time", run: repeatAsync(() => select(batch).execute()) },
    ]);

    const prepared = createReader(connections, { preparedStatements: createPreparedStatements() });
    const queries = statusQueries(db);
    const [one, many] = [queries.byIds(ids.slice(0, 1)), queries.byIds(ids.slice(0, 32))];
    const any = { ...many, parameters: [`{${ids[0]}}`] };
    await compare("one id, one statement after the other", 1_000, [
      { name: "= $1, prepared", run: repeatAsync(() => prepared.start(one).rows) },
      { name: "= $1, unnamed", run: repeatAsync(() => reader.start(one).rows) },
      { name: "= any($1), prepared", run: repeatAsync(() => prepared.start(any).rows) },
      { name: "= any($1), unnamed", run: repeatAsync(() => reader.start(any).rows) },
    ]);
    await compare("32 ids, one statement after the other", 1_000, [
      { name: "prepared", run: repeatAsync(() => prepared.start(many).rows) },
      { name: "unnamed", run: repeatAsync(() => reader.start(many).rows) },
    ]);

    reader.releaseConnections();
    prepared.releaseConnections();

    const readInHundreds = async (store: ReturnType<typeof createStatusStore>, times: number) => {
      for (let done = 0; done < times; done += 100) {
        const deadline = performance.now() + 10_000;
        await Promise.all(ids.slice(done, done + 100).map((id) => store.find(id, new Call(deadline))));
      }
    };
    const coalesced = createStatusStore(connections);
    const single = createStatusStore(connections, { flushAt: 1, maxInFlight: 2, maxBatch: 1 });
    await compare("reading a status, 100 callers at a time", 5_000, [
      { name: "coalesced", run: (times) => readInHundreds(coalesced, times) },
      { name: "a statement each", run: (times) => readInHundreds(single, times) },
    ]);
    await pool.end();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
