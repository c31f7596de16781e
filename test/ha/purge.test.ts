import { describe, expect, test } from "vitest";
import { openRetention } from "../../src/store/jobs/retention.ts";
import { createDatabase } from "../support/database.ts";
import { startPgbouncer } from "../support/ha/pgbouncer.ts";
import { installPrograms, skipped } from "../support/ha/programs.ts";
import { stopAtDelete } from "../support/purge-gate.ts";
import { insertAged, insertJob } from "../support/rows.ts";
import { poolOptions } from "../support/store.ts";

const hour = 3_600;
const options = { olderThan: 25 * hour * 1_000, batch: 10, signal: new AbortController().signal };

describe.skipIf(skipped)("purging through pgbouncer", () => {
  test.for(["session", "transaction", "statement"] as const)("in %s mode", async (mode) => {
    await using programs = await installPrograms();
    await using database = await createDatabase();
    await using pgbouncer = await startPgbouncer(programs, database.url, {
      pool_mode: mode,
      default_pool_size: mode === "session" ? "3" : "2",
    });
    await insertAged(database.db, 25, 26 * hour);
    const kept = await insertJob(database.db);
    // The server's sessions begin with a setting that a batch has to replace.
    await database.pool.query(`
      alter database ${new URL(database.url).pathname.slice(1)} set default_transaction_isolation = 'repeatable read'`);
    await using retention = openRetention({ url: pgbouncer.url, ...poolOptions });
    await using other = openRetention({ url: pgbouncer.url, ...poolOptions });
    expect(await retention.count(options.olderThan)).toMatchObject({ jobs: 25 });
    await using gate = await stopAtDelete(database);
    const purging = retention.purge(options);
    await gate.reached();
    expect(await other.purge(options)).toMatchObject({ outcome: "busy" });
    await gate[Symbol.asyncDispose]();
    expect(await purging).toEqual({ outcome: "done", purged: 25, batches: 3 });
    expect(await retention.oldTransactions()).toEqual([]);
    const { rows } = await database.pool.query("select req_id from memory_job");
    expect(rows).toEqual([{ req_id: kept }]);
  });
});
