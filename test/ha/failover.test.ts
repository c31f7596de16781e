import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openConnections } from "../../src/store/connections/connections.ts";
import { type Cluster, startCluster } from "../support/ha/cluster.ts";
import { type Fleet, startFleet } from "../support/ha/fleet.ts";
import { notKeptMessage } from "../support/ha/not-kept.ts";
import { observe } from "../support/ha/observe.ts";
import { type Producers, startProducers } from "../support/ha/producers.ts";
import { installPrograms, type Programs, skipped } from "../support/ha/programs.ts";
import { type EventReport, writeReport } from "../support/ha/report.ts";
import { runCli } from "../support/process.ts";
import { waitOverGrpc, watchOverGrpc } from "../support/waiting/grpc-ways.ts";
import { type JobWriter, startJobWriter } from "../support/waiting/job-writer.ts";
import { eventsOverRest, waitOverRest } from "../support/waiting/rest-ways.ts";
import {
  startWaitingClients,
  sumOfWaits,
  type WaitingClients,
  type WaitSum,
} from "../support/waiting/waiting-clients.ts";

/** `maxStaleness` is REPLICA_MAX_STALENESS in milliseconds. 0: the service reads from the primary alone. */
const services = [
  { name: "replicas, 10 s", maxStaleness: 10_000 },
  { name: "replicas, 1 s", maxStaleness: 1_000 },
  { name: "primary alone", maxStaleness: 0 },
];
/** The service that must lose no call: its REPLICA_MAX_STALENESS is longer than a failover. */
const survivor = services[0]?.name;
/** The number of instances of each service. */
const instances = 2;

/** How long a long poll waits, in milliseconds. */
const longPoll = 5_000;
/** The time from the end of an event until all that was final then is delivered, in milliseconds. */
const deliveredWithin = 15_000;
/** How calls that wait may end while the primary is replaced, unless the balancer has no instance for them. */
const mayEndAs = ["OK", "DATASTORE_UNAVAILABLE", "DEADLINE_EXCEEDED"];

/** How long etcd is down, in milliseconds: longer than Patroni's lease (`ttl`). */
const withoutEtcd = 8_000;
/** The time within which `/readyz` reports a primary that is down for longer than the bound, in milliseconds. */
const noticed = 2_000;
/** The time of calls before an event, and after it, in milliseconds. */
const before = 1_000;
const after = 1_500;

const events: readonly {
  readonly name: string;
  /** The primary stays available. */
  readonly harmless?: true;
  /** @returns a function that ends the event. */
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
    name: `etcd is down for ${withoutEtcd / 1_000} s`,
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
  const fleets: (Fleet & (typeof services)[number])[] = [];
  let programs: Programs;
  let cluster: Cluster;
  let producers: Producers;
  let writer: JobWriter;
  let waiting: WaitingClients[];

  beforeAll(async () => {
    programs = started.use(await installPrograms());
    cluster = started.use(await startCluster(programs));
    expect(await runCli(["migrate"], { DATABASE_URL: cluster.url }).exit).toMatchObject({ code: 0 });
    for (const service of services) {
      const { maxStaleness } = service;
      const replica = { DATABASE_READ_URL: cluster.readUrl, REPLICA_MAX_STALENESS: `${maxStaleness}ms` };
      const env = { DATABASE_URL: cluster.url, ...(maxStaleness > 0 && replica) };
      fleets.push({ ...service, ...started.use(await startFleet(programs, env, instances)) });
    }
    producers = startProducers(cluster.url);
    await producers.acknowledged();
    writer = started.use(await startJobWriter(cluster.url, { jobs: 100, pace: 200 }));
    waiting = fleets.map((fleet) => started.use(waitAt(fleet)));
  });

  /** 100 clients that wait for jobs that change. */
  function waitAt({ urls: { grpc, rest }, maxStaleness }: Fleet & (typeof services)[number]): WaitingClients {
    const groups = [
      { way: watchOverGrpc(5), clients: 40, urls: [grpc] },
      { way: waitOverGrpc(longPoll), clients: 20, urls: [grpc] },
      { way: eventsOverRest(), clients: 20, urls: [rest] },
      { way: waitOverRest(longPoll), clients: 20, urls: [rest] },
    ];
    return startWaitingClients({ writer, groups, maxStaleness });
  }

  /** Waits until all that was final is delivered. @returns what each service told its clients since the last time. */
  async function delivered(): Promise<WaitSum[]> {
    const before = performance.now();
    const undelivered = () => waiting.flatMap((clients) => clients.undelivered(before));
    await expect.poll(undelivered, { timeout: deliveredWithin }).toEqual([]);
    return waiting.map((clients) => sumOfWaits(clients.takeTallies()));
  }

  afterAll(() => started.disposeAsync());

  /** Waits until the cluster and the services have recovered from the event before. */
  async function settled(): Promise<void> {
    await cluster.settled();
    for (const fleet of fleets) await fleet.settled();
  }

  test.for(events)("$name", async ({ name, harmless = false, happen }) => {
    await settled();
    await delivered();
    const observers = await Promise.all(fleets.map((fleet) => observe(fleet, producers.jobs)));
    await pause(before);
    const begunAt = performance.now();
    const end = await happen(cluster);
    await producers.acknowledged();
    await end();
    await settled();
    await pause(after);
    const gap = producers.longestGap(begunAt);
    const services = await Promise.all(observers.map((stop) => stop(gap.from)));
    const waits = await delivered();
    reports.push({ name, writeGap: gap.length, services, waits });

    for (const [index, { calls, wrong, ends, complaints }] of waits.entries()) {
      const service = fleets[index]?.name;
      expect({ service, wrong, complaints }).toEqual({ service, wrong: 0, complaints: [] });
      expect(calls, service).toBeGreaterThan(0);
      if (service !== survivor && !harmless) continue;
      expect(
        Object.keys(ends).filter((as) => !mayEndAs.includes(as)),
        service,
      ).toEqual([]);
    }

    for (const [index, { service, readiness, tallies }] of services.entries()) {
      for (const { protocol, calls, wrong, failed, refused, balancer, complaints } of tallies) {
        const shown = `${service}, ${protocol}, ${JSON.stringify(readiness)}:\n${complaints.join("\n")}`;
        expect(calls, shown).toBeGreaterThan(0);
        expect(wrong, shown).toBe(0);
        expect(refused, shown).toBeLessThanOrEqual(balancer.refused);
        if (harmless) expect(failed, shown).toEqual({ known: 0, others: 0 });
        if (service !== survivor) continue;
        expect(failed.known, shown).toBe(0);
        expect(balancer.removedLast, shown).toBe(0);
      }
      const outlasted = gap.length > (fleets[index]?.maxStaleness ?? 0) + noticed;
      for (const states of readiness) {
        if (harmless) expect(states, service).not.toContain("not ready");
        else if (service === survivor) expect(states, service).toContain("degraded");
        else if (outlasted) expect(states, service).toContain("not ready");
      }
    }
  });

  test("each client that waits is told the end", async () => {
    await writer.finish();
    for (const clients of waiting) {
      await clients.finish();
      expect(sumOfWaits(clients.takeTallies())).toMatchObject({ wrong: 0, complaints: [] });
      await clients[Symbol.asyncDispose]();
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
    const written = Object.fromEntries(producers.jobs.map(({ reqId, states }) => [reqId, states.at(-1)]));
    const all = await db.selectFrom("memory_job").select(["req_id", "status"]).execute();
    // The jobs that clients wait for have a writer of their own.
    const rows = all.filter((row) => row.req_id in written);
    await connections[Symbol.asyncDispose]();
    expect(producers.jobs.length).toBeGreaterThan(100);
    expect(Object.fromEntries(rows.map((row) => [row.req_id, row.status]))).toEqual(written);
  });

  test("prepared statements are kept: each connection leads to one server, and ends with it", () => {
    for (const fleet of fleets) {
      expect(fleet.messages().filter((message) => message.startsWith(notKeptMessage))).toEqual([]);
    }
  });

  test("the services shut down gracefully, and have written nothing to standard error", async () => {
    for (const fleet of fleets) {
      expect(await fleet.stop()).toEqual(Array(instances).fill({ code: 0, stderr: "" }));
    }
    // The report needs all events: a run of some of them leaves it as it is.
    if (reports.length < events.length) return;
    const table = await writeReport(reports, versionsOf(programs), producers.jobs.length, instances);
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
