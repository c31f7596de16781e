import pg from "pg";
import { expect, test } from "vitest";
import { startReplicated } from "../support/replicated.ts";

// Vacuum on the primary, and reads of the status table on a standby. `vacuum_truncate` is off, since truncating is replayed under
// ACCESS EXCLUSIVE, for which the replay waits while a transaction that has read is open, and all other reads wait behind it.

test.for([
  { name: "vacuum on the primary leaves reads on a standby alone", statement: "select", blocks: false },
  {
    name: "it would block them if it truncated the table",
    statement: "alter table memory_job reset (vacuum_truncate)",
    blocks: true,
  },
])("$name", { timeout: 60_000 }, async ({ statement, blocks }) => {
  await using replicated = await startReplicated();
  await using primary = await connect(replicated.primary.url);
  await primary.query(statement);
  await primary.query(
    "insert into memory_job (req_id, status) select gen_random_uuid(), 'success' from generate_series(1, 100)",
  );
  await using reader = await connect(replicated.standby.url);
  await using observer = await connect(replicated.standby.url);
  /** @returns whether the standby has replayed what the primary has written. */
  const isReplayed = async () => {
    const { rows } = await primary.query("select pg_current_wal_flush_lsn() as flushed");
    const replayed = await observer.query("select pg_last_wal_replay_lsn() >= $1 as yes", [rows[0].flushed]);
    return replayed.rows[0].yes;
  };
  const isReplayBlocked = async () => {
    const { rows } = await observer.query(
      "select from pg_locks where mode = 'AccessExclusiveLock' and not granted",
    );
    return rows.length > 0;
  };
  await expect.poll(isReplayed, { timeout: 10_000 }).toBe(true);
  // Read committed: between two statements it holds a lock on the table, and no snapshot.
  await reader.query("begin; select count(*) from memory_job");
  await primary.query("delete from memory_job");
  await primary.query("vacuum memory_job");

  await expect.poll(blocks ? isReplayBlocked : isReplayed, { timeout: 10_000 }).toBe(true);
  await using another = await connect(replicated.standby.url);
  await another.query("set lock_timeout = '100ms'");
  const read = another.query("select from memory_job");
  if (blocks) await expect(read).rejects.toMatchObject({ code: "55P03" });
  else expect((await read).rowCount).toBe(0);
  await reader.query("commit");
});

async function connect(url: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}
