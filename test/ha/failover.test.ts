import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openConnections } from "../../src/store/connections.ts";
import { type Cluster, startCluster } from "../support/ha/cluster.ts";
import { type Polled, startPollers } from "../support/ha/pollers.ts";
import { type Producers, startProducers } from "../support/ha/producers.ts";
import { installPrograms, type Programs, skipped } from "../support/ha/programs.ts";
import { type EventReport, writeReport } from "../support/ha/report.ts";
import { runCli, type Serving, startServing } from "../support/process.ts";

/** How old an answer may be, in milliseconds. 0: the service reads from the primary alone. */
const services = [
  { name: "replicas, 10 s", maxStaleness: 10_000 },
  { name: "replicas, 1 s", maxStaleness: 1_000 },
  { name: "primary alone", maxStaleness: 0 },
];

/** Longer than a lease of Patroni's, in milliseconds. */
const withoutEtcd = 8_000;
/** Calls are made for so long before an event, and after it, in milliseconds. */
const before = 1_000;
const after = 1_500;

const events: readonly {
  readonly name: string;
  /** The database is there all the time. */
  readonly harmless?: true;
  /** @returns what ends it. */
  readonly happen: (cluster: Cluster) => Promise<() => Promise<void>>;
}[] = [
  { name: "`kill -9` of the primary and its Patroni", happen: (cluster) => cluster.killPrimary() },
  {
    name: "switchover",
    async happen(cluster) {
      await cluster.switchOver();
      return () => Promise.resolve();
    },
  },
  {
    name: `etcd is gone for ${withoutEtcd / 1_000} s`,
    harmless: true,
    async happen(cluster) {
      await cluster.stopEtcd();
      await pause(withoutEtcd);
      return cluster.startEtcd;
    },
  },
];

describe.skipIf(skipped)("failover", () => {
  const started = new AsyncDisposableStack();
  const reports: EventReport[] = [];
  const polled: Polled[] = [];
  const serving: Serving[] = [];
  let programs: Programs;
  let cluster: Cluster;
  let producers: Producers;

  beforeAll(async () => {
    programs = started.use(await installPrograms());
    cluster = started.use(await startCluster(programs));
    expect(await runCli(["migrate"], { DATABASE_URL: cluster.url }).exit).toMatchObject({ code: 0 });
    for (const { name, maxStaleness } of services) {
      const replica = { DATABASE_READ_URL: cluster.readUrl, REPLICA_MAX_STALENESS: `${maxStaleness}ms` };
      const service = started.use(
        await startServing({ DATABASE_URL: cluster.url, ...(maxStaleness > 0 && replica) }),
      );
      if (maxStaleness > 0) await service.logged("the replica serves");
      serving.push(service);
      polled.push({ name, url: service.url, maxStaleness });
    }
    producers = startProducers(cluster.url);
    await producers.acknowledged();
  });

  afterAll(() => started.disposeAsync());

  test.for(events)("$name", async ({ name, harmless = false, happen }) => {
    await cluster.settled();
    const pollers = startPollers(polled, producers.jobs);
    await pause(before);
    const begunAt = performance.now();
    const end = await happen(cluster);
    await producers.acknowledged();
    await end();
    await cluster.settled();
    await pause(after);
    const gap = producers.longestGap(begunAt);
    const tallies = await pollers.stop(gap.from);
    reports.push({ name, writeGap: gap.length, tallies });

    for (const { service, protocol, calls, wrong, failed, complaints } of tallies) {
      expect(calls, `${service}, ${protocol}`).toBeGreaterThan(0);
      expect(wrong, complaints.join("\n")).toBe(0);
      if (harmless) expect(failed).toEqual({ known: 0, others: 0 });
      // None does, unless the machine is so busy that a replica is too slow to stand in.
      if (service === services[0]?.name) {
        expect(failed.known, complaints.join("\n")).toBeLessThanOrEqual(calls / 100);
      }
    }
  });

  test("no acknowledged status is lost", async () => {
    await producers.stop();
    const { db, ...connections } = openConnections({
      url: cluster.url,
      size: 1,
      connectTimeout: 1_000,
      onLost() {},
    });
    const rows = await db.selectFrom("memory_job").select(["req_id", "status"]).execute();
    await connections[Symbol.asyncDispose]();
    const written = Object.fromEntries(producers.jobs.map(({ reqId, states }) => [reqId, states.at(-1)]));
    expect(producers.jobs.length).toBeGreaterThan(100);
    expect(Object.fromEntries(rows.map((row) => [row.req_id, row.status]))).toEqual(written);
  });

  test("the services end in good order, without a complaint", async () => {
    for (const service of serving) {
      service.kill("SIGTERM");
      expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
    }
    // Not when only some of the events have happened.
    if (reports.length < events.length) return;
    const table = await writeReport(reports, versionsOf(programs), producers.jobs.length);
    process.stdout.write(`${table}\n`);
  });
});

function versionsOf(programs: Programs): string[] {
  const named = {
    PostgreSQL: "postgresql-15",
    Patroni: "patroni",
    etcd: "etcd-server",
    HAProxy: "haproxy",
  } as const;
  return Object.entries(named).map(([name, pkg]) => `${name} ${programs.version(pkg)}`);
}
