import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { type Known, startCallers } from "../support/faults/callers.ts";
import { notKeptMessage } from "../support/ha/not-kept.ts";
import { poolerKinds } from "../support/ha/poolers.ts";
import { type PoolerReport, writePoolersReport } from "../support/ha/poolers-report.ts";
import { installPrograms, type Programs, skipped } from "../support/ha/programs.ts";
import { type Serving, startServing } from "../support/process.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { watchOverGrpc } from "../support/waiting/grpc-ways.ts";
import { startJobWriter } from "../support/waiting/job-writer.ts";
import { eventsOverRest, waitOverRest } from "../support/waiting/rest-ways.ts";
import { startWaitingClients, sumOfWaits } from "../support/waiting/waiting-clients.ts";

/** PREPARED_STATEMENTS of services that share a pooler: those with `on` meet each other's statements. */
const modes = ["auto", "on", "on", "off"] as const;
/** In milliseconds. */
const requestTimeout = 1_000;
const lasting = 2_000;
/** The interval between two calls of one client, in milliseconds: a prepared statement is used again before it is too old. */
const pace = 150;

/** Clients that wait for jobs that change. */
function waitAt(urls: readonly string[]) {
  return [
    { way: watchOverGrpc(5), clients: 10, urls },
    { way: waitOverRest(1_000), clients: 5, urls },
    { way: eventsOverRest(), clients: 5, urls },
  ];
}

describe.skipIf(skipped)("behind a pooler, with every setting of PREPARED_STATEMENTS", () => {
  const started = new AsyncDisposableStack();
  const reports: PoolerReport[] = [];
  const known: Known[] = [];
  let programs: Programs;
  let database: TestDatabase;

  beforeAll(async () => {
    programs = started.use(await installPrograms());
    database = started.use(await createDatabase());
    for (const status of ["pending", "processing", "success"] as const) {
      const reqId = await insertJob(database.db, { status });
      known.push({ reqId, json: await documentedJson(database.db, reqId) });
    }
  });

  afterAll(() => started.disposeAsync());

  test.for(poolerKinds)("$name: no call is wrong, and none fails", async ({ name, keeps, start }) => {
    await using poolers = new AsyncDisposableStack();
    const { url } = poolers.use(await start(programs, database.url));
    const env = { DATABASE_URL: url, REQUEST_TIMEOUT: `${requestTimeout}ms` };
    const services: (Serving & { readonly mode: string })[] = [];
    for (const mode of modes) {
      services.push({ mode, ...poolers.use(await startServing({ ...env, PREPARED_STATEMENTS: mode })) });
    }
    const callers = services.map((service) => startCallers(service.url, known, requestTimeout, { pace }));
    const writer = poolers.use(await startJobWriter(database.url, { jobs: 60, pace: 100 }));
    const waiting = services.map(({ url }) =>
      poolers.use(startWaitingClients({ writer, groups: waitAt([url]) })),
    );
    await pause(lasting);
    await writer.finish();

    for (const [index, { mode, logs, kill, exit }] of services.entries()) {
      const tallies = (await callers[index]?.stop(performance.now())) ?? [];
      const sum = (key: "calls" | "wrong" | "failed") =>
        tallies.reduce((total, tally) => total + tally[key], 0);
      const notKept = logs.filter(({ msg }) => msg.startsWith(notKeptMessage)).length;
      await waiting[index]?.finish();
      const { delivered, wrong, ends, complaints: ofWaits } = sumOfWaits(waiting[index]?.takeTallies() ?? []);
      const { OK, ...failures } = ends;
      const report = {
        pooler: name,
        mode,
        calls: sum("calls"),
        wrong: sum("wrong") + wrong,
        failed: sum("failed") + Object.values(failures).reduce((total, count) => total + count, 0),
      };
      reports.push({ ...report, delivered, notKept });
      const complaints = [...tallies.flatMap((tally) => tally.complaints), ...ofWaits];
      expect(delivered, mode).toBeGreaterThan(0);
      expect(tallies.every(({ calls }) => calls > 0)).toBe(true);
      expect({ ...report, complaints }).toMatchObject({ wrong: 0, failed: 0, complaints: [] });
      if (mode === "off" || keeps === "always") expect(notKept, mode).toBe(0);
      else if (keeps === "never") expect(notKept, mode).toBe(1);
      else expect(notKept, mode).toBeLessThanOrEqual(1);
      kill("SIGTERM");
      expect(await exit).toMatchObject({ code: 0, stderr: "" });
    }
  });

  afterAll(async () => {
    // The page needs all poolers: a run of some of them leaves it as it is.
    if (reports.length < poolerKinds.length * modes.length) return;
    await writePoolersReport(reports, programs.version("pgbouncer"));
  });
});
