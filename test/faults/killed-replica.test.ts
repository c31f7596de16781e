import { afterAll, beforeAll, expect, test } from "vitest";
import { type Serving, startServing } from "../support/process.ts";
import { type Replicated, startReplicated } from "../support/replicated.ts";
import type { Standby } from "../support/standby.ts";
import { batchOverGrpc, waitOverGrpc, watchOverGrpc } from "../support/waiting/grpc-ways.ts";
import { type JobWriter, startJobWriter } from "../support/waiting/job-writer.ts";
import { batchOverRest, eventsOverRest, waitOverRest } from "../support/waiting/rest-ways.ts";
import { startWaitingClients, type WaitingClients } from "../support/waiting/waiting-clients.ts";

/** REPLICA_MAX_STALENESS, in milliseconds. */
const maxStaleness = 1_000;
/** Acknowledged writes during a fault, and after it: one a pace of the writer. */
const pace = 50;
const writesDuring = 50;
const writesAfter = 40;

const started = new AsyncDisposableStack();
let replicated: Replicated;
let service: Serving;
let writer: JobWriter;
let clients: WaitingClients;

beforeAll(async () => {
  replicated = started.use(await startReplicated());
  service = started.use(
    await startServing({
      DATABASE_URL: replicated.primary.url,
      DATABASE_READ_URL: replicated.standby.url,
      REPLICA_MAX_STALENESS: `${maxStaleness}ms`,
    }),
  );
  await service.logged("the replica serves");
  writer = started.use(await startJobWriter(replicated.primary.url, { jobs: 300, pace }));
  const urls = [service.url];
  const groups = [
    { way: watchOverGrpc(5), clients: 300, urls },
    { way: waitOverGrpc(2_000), clients: 100, urls },
    { way: batchOverGrpc(20, 500), clients: 2, urls },
    { way: eventsOverRest(), clients: 200, urls },
    { way: waitOverRest(2_000), clients: 100, urls },
    { way: batchOverRest(20, 500), clients: 2, urls },
  ];
  clients = started.use(startWaitingClients({ writer, groups, maxStaleness }));
});

afterAll(() => started.disposeAsync());

const faults: readonly { name: string; happen(standby: Standby): Promise<() => Promise<void>> }[] = [
  {
    name: "`kill -9` of the replica",
    async happen(standby) {
      await standby.signal("SIGKILL");
      return standby.start;
    },
  },
  {
    name: "SIGSTOP of the replica",
    async happen(standby) {
      await standby.signal("SIGSTOP");
      return () => standby.signal("SIGCONT");
    },
  },
  {
    name: "the replica falls behind",
    async happen(standby) {
      await standby.pause();
      return standby.resume;
    },
  },
];

test.for(faults)("$name in the middle of 500 watches: none fails, and each is told the end", {
  timeout: 60_000,
}, async ({ happen }) => {
  await expect.poll(() => clients.waiting, { timeout: 20_000 }).toBeGreaterThan(400);
  clients.takeTallies();
  const end = await happen(replicated.standby);
  for (let written = 0; written < writesDuring; written++) await writer.acknowledged();
  const during = performance.now();
  await expect.poll(() => clients.undelivered(during)).toEqual([]);
  await end();
  for (let written = 0; written < writesAfter; written++) await writer.acknowledged();
  await expect.poll(servesAgain, { timeout: 20_000 }).toBe(true);
  for (const { way, delivered, wrong, ends, complaints } of clients.takeTallies()) {
    expect({ way, wrong, complaints }).toEqual({ way, wrong: 0, complaints: [] });
    expect(delivered, way).toBeGreaterThan(0);
    expect(Object.keys(ends), way).toEqual(["OK"]);
  }
});

test("in the end, each client has been told", async () => {
  await writer.finish();
  await clients.finish();
  for (const { way, wrong, complaints } of clients.takeTallies()) {
    expect({ way, wrong, complaints }).toEqual({ way, wrong: 0, complaints: [] });
  }
  service.kill("SIGTERM");
  expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
});

function servesAgain(): boolean {
  return service.logs.findLast(({ msg }) => msg.startsWith("the replica "))?.msg === "the replica serves";
}
