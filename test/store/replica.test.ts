import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../src/gen/health/v1/health_pb.ts";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import { createJobLedger, type JobLedger } from "../../src/store/jobs/job-ledger.ts";
import { migrate } from "../../src/store/schema/migrate.ts";
import type { Tables } from "../../src/store/schema/tables.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { metricValue } from "../support/metric.ts";
import { startProxy } from "../support/proxy.ts";
import { type Primary, type Standby, startPrimary } from "../support/standby.ts";
import { getStatus } from "../support/store.ts";

let primary: Primary;
let standby: Standby;
let pool: pg.Pool;
let ledger: JobLedger;

beforeAll(async () => {
  primary = await startPrimary();
  pool = new pg.Pool({ connectionString: primary.url, max: 5 });
  pool.on("error", () => {});
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  await migrate(db);
  ledger = createJobLedger(db);
  standby = await primary.addStandby();
});

afterAll(async () => {
  await pool.end();
  await primary[Symbol.asyncDispose]();
});

afterEach(() => standby.resume());

function startApp(env: Readonly<Record<string, string>> = {}): Promise<TestApp> {
  return startTestApp({ DATABASE_URL: primary.url, DATABASE_READ_URL: standby.url, ...env });
}

async function metric(
  app: TestApp,
  name: string,
  labels?: Readonly<Record<string, string>>,
): Promise<number> {
  return metricValue(await (await fetch(`${app.url}/metrics`)).text(), name, labels) ?? 0;
}

const readsOf = (app: TestApp, role: string) => metric(app, "status_store_reads_total", { role });
const reasks = (app: TestApp, cause: string) => metric(app, "status_store_reasks_total", { cause });

async function untilServing(app: TestApp, serving: boolean): Promise<void> {
  await expect
    .poll(() => metric(app, "status_store_replica_serving"), { interval: 10, timeout: 15_000 })
    .toBe(serving ? 1 : 0);
}

async function submit(): Promise<ReqId> {
  const reqId = parseReqId(randomUUID());
  await ledger.create(reqId);
  return reqId;
}

/** Waits until the standby has replayed what has been committed. */
async function untilReplayed(on = standby): Promise<void> {
  const { rows } = await pool.query("select pg_current_wal_flush_lsn() as lsn");
  const replica = new pg.Pool({ connectionString: on.url, max: 1 });
  const behind = async () =>
    (await replica.query("select pg_last_wal_replay_lsn() < $1::pg_lsn as behind", [rows[0].lsn])).rows[0]
      .behind;
  await expect.poll(behind, { interval: 5, timeout: 10_000 }).toBe(false);
  await replica.end();
}

/** Reads a status every few milliseconds until it is ended. @returns the different answers. */
function startStream(app: TestApp, reqId: string): { end(): Promise<(string | null)[]> } {
  let ended = false;
  const answers = new Set<string | null>();
  const loops = Array.from({ length: 4 }, async () => {
    while (!ended) {
      answers.add(await getStatus(app.url, reqId));
      await pause(5);
    }
  });
  return {
    async end() {
      ended = true;
      await Promise.all(loops);
      return [...answers];
    },
  };
}

describe("a replica that is recent enough", () => {
  test("answers instead of the primary", async () => {
    await using app = await startApp();
    const reqId = await submit();
    await untilReplayed();
    await untilServing(app, true);
    for (let n = 0; n < 20; n++) expect(await getStatus(app.url, reqId)).toBe("pending");
    expect(await readsOf(app, "replica")).toBe(20);
    expect(await readsOf(app, "primary")).toBe(0);
    expect(app.logs).toContainEqual(expect.objectContaining({ level: "info", msg: "the replica serves" }));
  });

  test("answers while the primary is unavailable, until the bound; after it the service answers DATASTORE_UNAVAILABLE", async () => {
    await using proxy = await startProxy(primary.url);
    await using app = await startApp({ DATABASE_URL: proxy.url, REPLICA_MAX_STALENESS: "2s" });
    const reqId = await submit();
    await untilReplayed();
    await untilServing(app, true);
    proxy.cut();
    const cutAt = performance.now();
    expect(await getStatus(app.url, reqId)).toBe("pending");
    expect(await getStatus(app.url, randomUUID())).toBe("DATASTORE_UNAVAILABLE");
    expect(performance.now() - cutAt).toBeLessThan(2_000);
    await untilServing(app, false);
    expect(performance.now() - cutAt).toBeGreaterThan(1_000);
    expect(await getStatus(app.url, reqId)).toBe("DATASTORE_UNAVAILABLE");
    await proxy.mend();
    await untilServing(app, true);
    expect(await getStatus(app.url, reqId)).toBe("pending");
  });

  test("keeps the service ready while the primary is unavailable, until the bound: /readyz answers degraded", async () => {
    await using proxy = await startProxy(primary.url);
    await using app = await startApp({ DATABASE_URL: proxy.url, REPLICA_MAX_STALENESS: "3s" });
    const reqId = await submit();
    await untilReplayed();
    await untilServing(app, true);
    const readyz = async () => {
      const response = await fetch(`${app.url}/readyz`);
      return `${response.status} ${await response.text()}`;
    };
    const health = createClient(Health, createGrpcTransport({ baseUrl: app.url }));
    expect(await readyz()).toBe('200 {"status":"ready"}');
    proxy.cut();
    const bodies = new Set<string>();
    for (let body = await readyz(); !body.startsWith("503"); body = await readyz()) {
      bodies.add(body);
      if (!body.includes("degraded")) continue;
      expect(await getStatus(app.url, randomUUID())).toBe("DATASTORE_UNAVAILABLE");
      const answers = [await getStatus(app.url, reqId), (await health.check({})).status];
      // The bound may have ended meanwhile: what was answered is checked only while /readyz is still ready.
      if ((await readyz()).startsWith("200")) expect(answers).toEqual(["pending", ServingStatus.SERVING]);
    }
    expect([...bodies]).toContain('200 {"status":"degraded"}');
    expect(await metric(app, "status_readiness", { state: "not ready" })).toBe(1);
    expect(await metric(app, "status_readiness", { state: "degraded" })).toBe(0);
    expect(await health.check({})).toMatchObject({ status: ServingStatus.NOT_SERVING });
    expect(app.logs).toContainEqual(
      expect.objectContaining({ level: "warn", msg: expect.stringMatching(/^degraded: /) }),
    );
    await proxy.mend();
    await expect.poll(readyz, { timeout: 10_000 }).toBe('200 {"status":"ready"}');
  });

  test("is not suspended for a call whose deadline is tiny", async () => {
    await using app = await startApp({ REPLICA_MAX_STALENESS: "10s" });
    const reqId = await submit();
    await untilReplayed();
    await untilServing(app, true);
    const hasty = createClient(
      StatusService,
      createGrpcTransport({
        baseUrl: app.url,
        interceptors: [
          (next) => (request) => {
            request.header.set("grpc-timeout", "1n");
            return next(request);
          },
        ],
      }),
    );
    for (let n = 0; n < 100; n++) {
      const [answer] = await Promise.all([
        getStatus(app.url, reqId),
        expect(hasty.getStatus({ reqId })).rejects.toMatchObject({ code: Code.DeadlineExceeded }),
      ]);
      expect(answer).toBe("pending");
    }
    expect(await readsOf(app, "primary")).toBe(0);
    expect(await readsOf(app, "replica")).toBe(100);
    expect(await reasks(app, "slow")).toBe(0);
  });

  test("is not suspended for calls that the service itself sheds", async () => {
    await using app = await startApp({
      MAX_QUEUED: "1",
      BATCHES_IN_FLIGHT: "1",
      REPLICA_MAX_STALENESS: "10s",
    });
    const ids = await Promise.all(Array.from({ length: 20 }, submit));
    await untilReplayed();
    await untilServing(app, true);
    for (let n = 0; n < 5; n++) await Promise.all(ids.map((id) => getStatus(app.url, id)));
    expect(await reasks(app, "shed")).toBeGreaterThan(0);
    const findings = app.logs.filter(({ msg }) => String(msg).startsWith("the replica"));
    expect(findings.map(({ msg }) => msg)).toEqual(["the replica serves"]);
  });

  test("is not suspended for a row that it cannot decode", async () => {
    await using app = await startApp({ REPLICA_MAX_STALENESS: "10s" });
    const [bad, good] = [randomUUID(), await submit()];
    // Passes by the constraints, as a table does that migrate did not make.
    await pool.query("alter table memory_job drop constraint memory_job_error");
    await pool.query("insert into memory_job (req_id, status, error) values ($1, 'pending', 'no failure')", [
      bad,
    ]);
    await untilReplayed();
    await untilServing(app, true);
    for (let n = 0; n < 20; n++) {
      expect(await Promise.all([getStatus(app.url, bad), getStatus(app.url, good)])).toEqual([
        "STATUS_UNREADABLE",
        "pending",
      ]);
    }
    expect(await readsOf(app, "replica")).toBe(20);
    expect(await reasks(app, "unreadable")).toBe(20);
    await pool.query("delete from memory_job where req_id = $1", [bad]);
    await pool.query(
      "alter table memory_job add constraint memory_job_error check ((status = 'failure') = (error is not null))",
    );
  });

  test("is used though the primary has just begun another file of its log", async () => {
    await pool.query("select pg_switch_wal()");
    await untilReplayed();
    await using app = await startApp({ REPLICA_MAX_STALENESS: "400ms" });
    await untilServing(app, true);
    // Whatever is written next would have made it serve, too.
    const findings = app.logs.filter(({ msg }) => String(msg).startsWith("the replica"));
    expect(findings).toEqual([expect.objectContaining({ msg: "the replica serves" })]);
  });

  test("needs no right but to read", async () => {
    await pool.query(
      "create role reader login password 'reader'; grant select on all tables in schema public to reader",
    );
    await untilReplayed();
    const [url, readUrl] = [primary.url, standby.url].map((one) => {
      const { host, pathname } = new URL(one);
      return `postgres://reader:reader@${host}${pathname}`;
    }) as [string, string];
    await using app = await startApp({ DATABASE_URL: url, DATABASE_READ_URL: readUrl });
    await untilServing(app, true);
  });

  test("may be the primary itself, behind a read-only port", async () => {
    await using app = await startApp({ DATABASE_READ_URL: primary.url });
    await untilServing(app, true);
    for (let n = 0; n < 20; n++) {
      const reqId = await submit();
      expect(await getStatus(app.url, reqId)).toBe("pending");
      await ledger.succeed(reqId);
      expect(await getStatus(app.url, reqId)).toBe("success");
    }
    expect(await reasks(app, "missing")).toBe(0);
    expect(await readsOf(app, "replica")).toBe(40);
  });
});

describe("a replica that is behind", () => {
  test("a job that was just created is found at once", async () => {
    await using app = await startApp({ REPLICA_MAX_STALENESS: "10s" });
    await untilServing(app, true);
    await standby.pause();
    for (let n = 0; n < 20; n++) expect(await getStatus(app.url, await submit())).toBe("pending");
    expect(await reasks(app, "missing")).toBe(20);
  });

  test("answers until the bound, and not after it", async () => {
    const bound = 600;
    await using app = await startApp({ REPLICA_MAX_STALENESS: `${bound}ms` });
    const reqId = await submit();
    await untilReplayed();
    await untilServing(app, true);
    await standby.pause();
    await ledger.succeed(reqId);
    const changedAt = performance.now();
    const answers: string[] = [];
    for (let askedAt = changedAt; askedAt < changedAt + 3 * bound; askedAt = performance.now()) {
      const answer = await getStatus(app.url, reqId);
      if (askedAt > changedAt + bound) expect(answer).toBe("success");
      answers.push(answer ?? "");
    }
    expect(answers[0], "the replica answered while it might").toBe("pending");
    await untilServing(app, false);
    expect(JSON.stringify(app.logs)).toContain("has not replayed what the primary had written 600 ms ago");

    await standby.resume();
    await untilServing(app, true);
    const before = await readsOf(app, "replica");
    expect(await getStatus(app.url, reqId)).toBe("success");
    expect(await readsOf(app, "replica")).toBe(before + 1);
  });

  test("no answer is older than the bound, whatever the standby does", async () => {
    const bound = 300;
    await using app = await startApp({ REPLICA_MAX_STALENESS: `${bound}ms` });
    await untilServing(app, true);
    /** When each status of each job was committed at the latest. */
    const jobs: { reqId: ReqId; committed: Map<string, number> }[] = [];
    let end = performance.now() + 5_000;
    const working = () => performance.now() < end;
    const next: Record<string, string | undefined> = { pending: "processing", processing: "success" };
    let asked = 0;

    async function write(): Promise<void> {
      while (working()) {
        const committed = new Map<string, number>();
        const reqId = await submit();
        committed.set("pending", performance.now());
        jobs.push({ reqId, committed });
        await pause(Math.random() * bound);
        await ledger.start(reqId);
        committed.set("processing", performance.now());
        await pause(Math.random() * bound);
        await ledger.succeed(reqId);
        committed.set("success", performance.now());
      }
    }

    async function read(): Promise<void> {
      while (working()) {
        const job = jobs.at(-1 - Math.floor(Math.random() * 20));
        if (job === undefined) {
          await pause(1);
          continue;
        }
        const askedAt = performance.now();
        const status = (await getStatus(app.url, job.reqId)) ?? "";
        expect(["pending", "processing", "success"]).toContain(status);
        const overtaken = job.committed.get(next[status] ?? "") ?? Number.POSITIVE_INFINITY;
        expect(askedAt - overtaken, `ms for which ${status} had been out of date`).toBeLessThan(bound);
        asked++;
        await pause(2);
      }
    }

    async function disturb(): Promise<void> {
      while (working()) {
        await standby.pause();
        await pause(Math.random() * 3 * bound);
        await standby.resume();
        await pause(Math.random() * 2 * bound);
      }
    }

    await Promise.all([write(), write(), write(), write(), read(), read(), read(), disturb()]).finally(() => {
      end = 0;
    });
    expect(await readsOf(app, "replica")).toBeGreaterThan(0);
    expect(JSON.stringify(app.logs)).toContain("has not replayed what the primary had written 300 ms ago");
    expect((await readsOf(app, "replica")) + (await readsOf(app, "primary"))).toBe(asked);
  });

  test("behind a port that leads to several, one that is not behind serves", async () => {
    const other = await primary.addStandby();
    await using proxy = await startProxy(standby.url, other.url);
    await using app = await startApp({ DATABASE_READ_URL: proxy.url, REPLICA_MAX_STALENESS: "500ms" });
    await standby.pause();
    const reqId = await submit();
    await ledger.succeed(reqId);
    await untilReplayed(other);
    await pause(500); // the bound
    const servedBy = await readsOf(app, "replica");
    await expect
      .poll(
        async () => {
          expect(await getStatus(app.url, reqId)).toBe("success");
          return (await readsOf(app, "replica")) - servedBy;
        },
        { interval: 5, timeout: 15_000 },
      )
      .toBeGreaterThan(200);
  });
});

describe("a replica that breaks", () => {
  test("costs no call when it stops answering, and serves when it is back", async () => {
    await using app = await startApp();
    const reqId = await submit();
    await untilReplayed();
    await untilServing(app, true);
    const stream = startStream(app, reqId);
    await standby.signal("SIGSTOP");
    try {
      await untilServing(app, false);
      const primaryReads = await readsOf(app, "primary");
      await expect.poll(() => readsOf(app, "primary")).toBeGreaterThan(primaryReads + 100);
    } finally {
      await standby.signal("SIGCONT");
    }
    await untilServing(app, true);
    expect(await stream.end()).toEqual(["pending"]);
    expect(await reasks(app, "slow")).toBeGreaterThan(0);
    // Every change of its state is logged, and nothing else.
    const findings = app.logs.map(({ msg }) => String(msg)).filter((msg) => msg.startsWith("the replica"));
    const states = ["the replica serves", "the replica is suspended: the primary is asked"];
    expect(new Set(findings)).toEqual(new Set(states));
    for (const [n, finding] of findings.slice(1).entries()) expect(finding).not.toBe(findings[n]);
    expect(findings.length).toBeGreaterThanOrEqual(3);
  });

  test("costs no call when it is killed, and serves when it is back", async () => {
    await using app = await startApp();
    const reqId = await submit();
    await untilReplayed();
    await untilServing(app, true);
    const stream = startStream(app, reqId);
    await standby.signal("SIGKILL");
    await untilServing(app, false);
    await ledger.start(reqId);
    await standby.start();
    await untilServing(app, true);
    const replicaReads = await readsOf(app, "replica");
    await expect.poll(() => readsOf(app, "replica")).toBeGreaterThan(replicaReads + 100);
    expect((await stream.end()).sort()).toEqual(["pending", "processing"]);
  });

  test("is no reason not to start", async () => {
    await using proxy = await startProxy(standby.url);
    proxy.cut();
    await using app = await startApp({ DATABASE_READ_URL: proxy.url });
    const reqId = await submit();
    expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
    expect(await getStatus(app.url, reqId)).toBe("pending");
    expect(await readsOf(app, "primary")).toBe(1);
    await proxy.mend();
    await untilServing(app, true);
  });
});

describe("what is not a replica of the primary is not used", () => {
  async function refusal(app: TestApp): Promise<string> {
    const found = () => app.logs.find(({ msg }) => String(msg).startsWith("the replica is suspended"));
    await expect.poll(found, { interval: 10, timeout: 10_000 }).toBeDefined();
    const reqId = await submit();
    expect(await getStatus(app.url, reqId)).toBe("pending");
    expect(await metric(app, "status_store_replica_serving")).toBe(0);
    return (found()?.err as { message: string }).message;
  }

  test("a standby that was promoted", async () => {
    const other = await primary.addStandby();
    await other.execute("select pg_promote()");
    await using app = await startApp({ DATABASE_READ_URL: other.url });
    expect(await refusal(app)).toBe("it is a primary, and not the one that DATABASE_URL leads to");
  });

  test("a standby of another primary, on another timeline", async () => {
    const other = await primary.addStandby();
    await other.execute("select pg_promote()");
    await using app = await startApp({ DATABASE_URL: other.url });
    expect(await metric(app, "status_store_replica_serving")).toBe(0);
    const found = () => JSON.stringify(app.logs);
    await expect.poll(found, { timeout: 10_000 }).toContain("it is on timeline 1, and the primary on 2");
  });

  test("another database of the same server", async () => {
    await pool.query("create database other");
    const url = new URL(primary.url);
    url.pathname = "other";
    const others = new pg.Pool({ connectionString: url.href, max: 2 });
    await migrate(new Kysely<Tables>({ dialect: new PostgresDialect({ pool: others }) }));
    await others.end();
    await using app = await startApp({ DATABASE_READ_URL: url.href });
    expect(await refusal(app)).toBe("it does not replicate the table of DATABASE_URL");
  });

  test("a connection whose transactions do not see what was replayed since they began", async () => {
    const url = new URL(standby.url);
    url.search = `options=${encodeURIComponent("-c default_transaction_isolation=repeatable\\ read")}`;
    await using app = await startApp({ DATABASE_READ_URL: url.href });
    expect(await refusal(app)).toContain("default_transaction_isolation");
  });
});
