import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { type Front, startFront } from "../support/ha/front.ts";
import { stablePort } from "../support/ha/ports.ts";
import { installPrograms, skipped } from "../support/ha/programs.ts";
import { type Running, startServing } from "../support/process.ts";
import { protocols } from "../support/protocols.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { waitOverGrpc, watchOverGrpc } from "../support/waiting/grpc-ways.ts";
import { startJobWriter } from "../support/waiting/job-writer.ts";
import { eventsOverRest, waitOverRest } from "../support/waiting/rest-ways.ts";
import { startWaitingClients } from "../support/waiting/waiting-clients.ts";

const rounds = 3;
const callersPerProtocol = 4;
/** The longest time, in milliseconds, from the end of a stream to the first event of the next. */
const longestBackIn = new Map([
  ["WatchStatus, gRPC", 5_000],
  // An EventSource waits for as long as `retry` says: up to 5 s.
  ["events, REST", 10_000],
]);

describe.skipIf(skipped)("a rolling restart of two instances behind HAProxy", () => {
  const started = new AsyncDisposableStack();
  const instances: { name: string; port: number; running: Running }[] = [];
  let database: TestDatabase;
  let front: Front;

  const start = (port: number) =>
    startServing({
      DATABASE_URL: database.url,
      PORT: String(port),
      SHUTDOWN_DELAY: "1s",
      SHUTDOWN_TIMEOUT: "4s",
    });

  async function restartEach(): Promise<void> {
    for (const instance of instances) {
      instance.running.kill("SIGTERM");
      const { code, stderr } = await instance.running.exit;
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      instance.running = await start(instance.port);
      await front.allUp();
    }
  }

  beforeAll(async () => {
    const programs = started.use(await installPrograms());
    database = started.use(await createDatabase());
    for (const name of ["one", "two"]) {
      const port = await stablePort();
      instances.push({ name, port, running: await start(port) });
    }
    started.defer(async () => {
      for (const { running } of instances) await running[Symbol.asyncDispose]();
    });
    front = started.use(await startFront(programs, instances));
  });

  afterAll(() => started.disposeAsync());

  test("loses no call over REST and gRPC", async () => {
    const reqId = await insertJob(database.db, { status: "failure", error: "it broke" });
    const json = await documentedJson(database.db, reqId);
    await front.allUp();
    const agent = new Agent({ keepAlive: true });
    const grpc = protocols.find(({ name }) => name.includes("grpc-js"))?.open(front.urls.grpc);
    const rest = callRepeatedly(async () => ({
      json: await getOverRest(`${front.urls.rest}/get_status/${reqId}`, agent),
    }));
    const rpc = callRepeatedly(async () => grpc?.ask(reqId));
    for (let round = 0; round < rounds; round++) await restartEach();
    const counts = await Promise.all([rest.stop(), rpc.stop()]);
    agent.destroy();
    grpc?.close();
    for (const answers of counts) expect([...answers.keys()]).toEqual([JSON.stringify({ json })]);
    const calls = counts.flatMap((answers) => [...answers.values()]).reduce((sum, count) => sum + count, 0);
    process.stdout.write(`${rounds * instances.length} restarts, ${calls} calls, 0 lost\n`);
  });

  test("ends no watch of 1,000 with a wrong outcome, and its client is back within five seconds", async () => {
    await front.allUp();
    await using writer = await startJobWriter(database.url, { jobs: 500, pace: 200 });
    const [grpc, rest] = [[front.urls.grpc], [front.urls.rest]];
    const groups = [
      { way: watchOverGrpc(5), clients: 700, urls: grpc },
      { way: waitOverGrpc(10_000), clients: 100, urls: grpc },
      { way: eventsOverRest(), clients: 300, urls: rest },
      { way: waitOverRest(10_000), clients: 100, urls: rest },
    ];
    await using clients = startWaitingClients({ writer, groups });
    await expect.poll(() => clients.waiting, { timeout: 20_000 }).toBeGreaterThan(950);
    clients.takeTallies();

    await restartEach();
    await expect.poll(() => clients.waiting, { timeout: 20_000 }).toBeGreaterThan(950);
    await writer.finish();
    await clients.finish();

    for (const { way, delivered, wrong, ends, backIn, complaints } of clients.takeTallies()) {
      expect({ way, wrong, complaints }).toEqual({ way, wrong: 0, complaints: [] });
      expect(delivered, way).toBeGreaterThan(0);
      const longest = longestBackIn.get(way);
      // A long poll ends with OK, too, and is told something only then.
      expect(Object.keys(ends).toSorted(), way).toEqual(
        longest === undefined ? ["OK"] : ["GOING_AWAY", "OK"],
      );
      if (longest === undefined) continue;
      expect(backIn, way).toBeLessThanOrEqual(longest);
      process.stdout.write(`${way}: ${JSON.stringify(ends)}, back within ${Math.ceil(backIn)} ms\n`);
    }
  });
});

async function getOverRest(url: string, agent: Agent): Promise<string> {
  try {
    const [response] = (await once(get(url, { agent }), "response")) as [IncomingMessage];
    const body = await text(response);
    return response.statusCode === 200 ? body : `${response.statusCode}: ${body}`;
  } catch (error) {
    return String(error);
  }
}

/** Starts several callers, each of which makes one call after the other. */
function callRepeatedly(call: () => Promise<unknown>) {
  const answers = new Map<string, number>();
  let stopping = false;
  const running = Array.from({ length: callersPerProtocol }, async () => {
    while (!stopping) {
      const answer = JSON.stringify(await call());
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
    }
  });
  return {
    /** Ends the calls. @returns the distinct answers, and the number of each. */
    async stop(): Promise<ReadonlyMap<string, number>> {
      stopping = true;
      await Promise.all(running);
      return answers;
    },
  };
}
