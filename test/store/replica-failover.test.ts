import { afterAll, beforeAll, expect, test } from "vitest";
import { datastoreUnavailable } from "../../src/status/errors.ts";
import type { ReqId } from "../../src/status/req-id.ts";
import type { StatusStore } from "../../src/status/status-store.ts";
import type { Replica } from "../../src/store/replica/replica.ts";
import { startTestApp } from "../support/app.ts";
import { startProxy } from "../support/proxy.ts";
import { maxStaleness, type Replicated, startReplicated } from "../support/replicated.ts";
import type { Standby } from "../support/standby.ts";
import { callWithin, wordsOf } from "../support/store.ts";

let replicated: Replicated;
let standby: Standby;
/** Behind a read-only port during a failover: the next primary, which DATABASE_URL does not lead to yet. */
let promoted: Standby;
let reqId: ReqId;

beforeAll(async () => {
  replicated = await startReplicated();
  standby = replicated.standby;
  reqId = await replicated.submit();
  promoted = await replicated.primary.addStandby();
  await promoted.execute("select pg_promote()");
});

afterAll(() => replicated[Symbol.asyncDispose]());

async function untilServing(replica: Replica, serving: boolean): Promise<void> {
  await expect.poll(() => replica.serving(), { interval: 5, timeout: 15_000 }).toBe(serving);
}

const unavailable = () => datastoreUnavailable(new Error("the primary is unavailable"));

/** Reads of one id and of several, which a failover may interrupt. */
const reads: { name: string; read: (statuses: StatusStore) => Promise<string[]> }[] = [
  {
    name: "find",
    read: async (statuses) => [(await statuses.find(reqId, callWithin()))?.status ?? "none"],
  },
  {
    name: "findMany",
    read: async (statuses) => wordsOf(await statuses.findMany([reqId], callWithin())),
  },
  {
    name: "poll",
    read: async (statuses) => wordsOf(await statuses.poll([reqId], callWithin())),
  },
];

test.for(
  reads,
)("$name: a call that began while the replica was suspended is answered by it, when it serves again and the primary is unavailable", async ({
  read,
}) => {
  await using readOnly = await startProxy(standby.url);
  const asked = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  async function askPrimary(): Promise<void> {
    asked.resolve();
    await answered.promise;
  }
  async function findMany(reqIds: readonly ReqId[]) {
    await askPrimary();
    return new Map(reqIds.map((id) => [id, unavailable()]));
  }
  const statuses: StatusStore = {
    async find() {
      await askPrimary();
      throw unavailable();
    },
    findMany,
    poll: findMany,
  };
  await using replica = replicated.openReplica(readOnly.url, {}, { statuses });
  await untilServing(replica, true);
  readOnly.cut();
  await untilServing(replica, false);
  const status = read(replica.statuses);
  await asked.promise;
  await readOnly.mend();
  await untilServing(replica, true);
  answered.resolve();
  expect(await status).toEqual(["pending"]);
});

test("a connection to the next primary does not hide the standby behind the same read-only port", async () => {
  await using readOnly = await startProxy(promoted.url, standby.url);
  const found = Promise.withResolvers<boolean>();
  let closed = false;
  await using replica = replicated.openReplica(readOnly.url, {
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

test.for(
  reads,
)("$name: a call waits for the next primary while no standby's answer passes the check", async ({ read }) => {
  await using readOnly = await startProxy(standby.url);
  const { database } = replicated;
  let isUnavailable = true;
  const statuses: StatusStore = {
    find: (id, call) => (isUnavailable ? Promise.reject(unavailable()) : database.statuses.find(id, call)),
    findMany: (reqIds, call) =>
      isUnavailable
        ? Promise.resolve(new Map(reqIds.map((id) => [id, unavailable()])))
        : database.statuses.findMany(reqIds, call),
    poll: (reqIds, call) =>
      isUnavailable
        ? Promise.resolve(new Map(reqIds.map((id) => [id, unavailable()])))
        : database.statuses.poll(reqIds, call),
  };
  const reasks: string[] = [];
  const onReask = (cause: string) => {
    reasks.push(cause);
    // As many as are made at once.
    if (reasks.length === 4) isUnavailable = false;
  };
  const as = { statuses, isUnavailable: () => isUnavailable };
  await using replica = replicated.openReplica(readOnly.url, { onReask }, as);
  await untilServing(replica, true);
  readOnly.redirect(promoted.url);
  readOnly.disturb("close");
  readOnly.disturb("none");
  await untilServing(replica, false);
  expect(await read(replica.statuses)).toEqual(["pending"]);
  expect(new Set(reasks)).toEqual(new Set(["stale"]));
});

test("/readyz keeps saying degraded while a connection to the next primary suspends the replica", async () => {
  await using primaryPort = await startProxy(replicated.primary.url);
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
