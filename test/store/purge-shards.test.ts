import { expect, test } from "vitest";
import { openRetention } from "../../src/store/jobs/retention.ts";
import { up } from "../../src/store/schema/migrations/0005-purge.ts";
import { openSession } from "../support/schemas.ts";
import { startShards } from "../support/shards.ts";
import { poolOptions } from "../support/store.ts";

test("expired jobs are deleted from partitions on other servers, in order of age over all of them", async () => {
  await using shards = await startShards(2);
  await using session = openSession(shards.url);
  await up(session.db, "public");
  await session.pool.query(`
    insert into memory_job (req_id, status, created_at)
    select gen_random_uuid(), 'success', date_trunc('second', now()) - make_interval(hours => 20, mins => n * 30)
    from generate_series(1, 30) n`);
  const count = async () =>
    Number((await session.pool.query("select count(*) from memory_job")).rows[0].count);
  const expired = await session.pool.query(
    "select created_at from memory_job where created_at < now() - interval '25 hours' order by created_at",
  );
  await using retention = openRetention({ url: shards.url, ...poolOptions });
  const newest: Date[] = [];
  const result = await retention.purge({
    olderThan: 25 * 3_600_000,
    batch: 8,
    signal: new AbortController().signal,
    onBatch: (progress) => newest.push(progress.newest),
  });
  expect(result).toMatchObject({ outcome: "done", purged: expired.rows.length });
  expect(newest[0]).toEqual(expired.rows[7].created_at);
  expect(await count()).toBe(30 - expired.rows.length);
});
