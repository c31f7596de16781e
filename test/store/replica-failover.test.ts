import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Call } from "../../src/status/call.ts";
import { StatusError } from "../../src/status/errors.ts";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import { type Database, openDatabase } from "../../src/store/database.ts";
import { createJobLedger } from "../../src/store/jobs/job-ledger.ts";
import { openReplica, type Replica } from "../../src/store/replica/replica.ts";
import { migrate } from "../../src/store/schema/migrate.ts";
import { startTestApp } from "../support/app.ts";
import { startProxy } from "../support/proxy.ts";
import { type Primary, type Standby, startPrimary } from "../support/standby.ts";

/** Longer than any test here takes, in milliseconds. */
const maxStaleness = 600_000;

let primary: Primary;
let database: Database;
let standby: Standby;
/** Behind a read-only port during a failover: the next primary, which DATABASE_URL does not lead to yet. */
let promoted: Standby;
let reqId: ReqId;

beforeAll(async () => {
  primary = await startPrimary();
  const reach = { size: 3, connectTimeout: 1_000, onLost() {}, onBreaker() {} };
  database = openDatabase({ url: primary.url, ...reach });
  await migrate(database.db);
  reqId = parseReqId(randomUUID());
  await createJobLedger(database.db).create(reqId);
  standby = await primary.addStandby();
  promoted = await primary.addStandby();
  await promoted.execute("select pg_promote()");
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await primary[Symbol.asyncDispose]();
});

function open(
  url: string,
  options: Partial<Parameters<typeof openReplica>[1]>,
  as: Partial<Database> = {},
): Replica {
  const reach = { url, size: 3, connectTimeout: 1_000, onLost() {} };
  return openReplica({ ...database, ...as }, { ...reach, maxStaleness, ...options });
}

async function untilServing(replica: Replica, serving: boolean): Promise<void> {
  await expect.poll(() => replica.serving(), { interval: 5, timeout: 15_000 }).toBe(serving);
}

test("a call that began while the replica was suspended is answered by it, when it serves again and the primary is gone", async () => {
  await using readOnly = await startProxy(standby.url);
  const asked = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<never>();
  const statuses = {
    find() {
      asked.resolve();
      return answered.promise;
    },
  };
  await using replica = open(readOnly.url, {}, { statuses });
  await untilServing(replica, true);
  readOnly.cut();
  await untilServing(replica, false);
  const status = replica.statuses.find(reqId, new Call(performance.now() + 60_000));
  await asked.promise;
  await readOnly.mend();
  await untilServing(replica, true);
  answered.reject(new StatusError("DATASTORE_UNAVAILABLE", "the primary is gone"));
  expect(await status).toMatchObject({ status: "pending" });
});

test("a connection to the next primary does not hide the standby behind the same read-only port", async () => {
  await using readOnly = await startProxy(promoted.url, standby.url);
  const found = Promise.withResolvers<boolean>();
  let closed = false;
  await using replica = open(readOnly.url, {
    onChange(cause) {
      // The next connection leads to the standby.
      if (closed && cause !== undefined) found.resolve(replica.becomesCurrent());
    },
  });
  await untilServing(replica, true);
  closed = true;
  readOnly.disturb("close");
  readOnly.disturb("none");
  expect(await found.promise).toBe(true);
});

test("a call waits for the next primary while no standby can prove its answer", async () => {
  await using readOnly = await startProxy(standby.url);
  let isGone = true;
  const statuses = {
    find: (...args: Parameters<Database["statuses"]["find"]>) =>
      isGone
        ? Promise.reject(new StatusError("DATASTORE_UNAVAILABLE", "the primary is gone"))
        : database.statuses.find(...args),
  };
  const reasks: string[] = [];
  const onReask = (cause: string) => {
    reasks.push(cause);
    // As many as are made at once.
    if (reasks.length === 4) isGone = false;
  };
  await using replica = open(readOnly.url, { onReask }, { statuses, isGone: () => isGone });
  await untilServing(replica, true);
  readOnly.redirect(promoted.url);
  readOnly.disturb("close");
  readOnly.disturb("none");
  await untilServing(replica, false);
  const status = await replica.statuses.find(reqId, new Call(performance.now() + 60_000));
  expect(status).toMatchObject({ status: "pending" });
  expect(new Set(reasks)).toEqual(new Set(["stale"]));
});

test("/readyz keeps saying degraded while a connection to the next primary suspends the replica", async () => {
  await using primaryPort = await startProxy(primary.url);
  await using readOnly = await startProxy(promoted.url, standby.url);
  await using app = await startTestApp({
    DATABASE_URL: primaryPort.url,
    DATABASE_READ_URL: readOnly.url,
    REPLICA_MAX_STALENESS: `${maxStaleness}ms`,
  });
  const readyz = async () => (await fetch(`${app.url}/readyz`)).text();
  const findings = () =>
    app.logs.map(({ msg }) => String(msg)).filter((msg) => msg.startsWith("the replica"));
  await expect.poll(() => findings().at(-1), { timeout: 15_000 }).toBe("the replica serves");
  primaryPort.cut();
  await expect.poll(readyz, { interval: 5, timeout: 15_000 }).toBe('{"status":"degraded"}');
  const before = findings().length;
  readOnly.disturb("close");
  readOnly.disturb("none");
  const bodies = new Set<string>();
  while (findings().length < before + 2) bodies.add(await readyz());
  expect(findings().slice(before)).toEqual([
    "the replica is suspended: the primary is asked",
    "the replica serves",
  ]);
  expect([...bodies]).toEqual(['{"status":"degraded"}']);
});
