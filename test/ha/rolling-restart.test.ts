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

const rounds = 3;
const callersPerProtocol = 4;

describe.skipIf(skipped)("a rolling restart of two instances behind HAProxy", () => {
  const started = new AsyncDisposableStack();
  const instances: { name: string; port: number; running: Running }[] = [];
  let database: TestDatabase;
  let front: Front;

  const start = (port: number) =>
    startServing({ DATABASE_URL: database.url, PORT: String(port), SHUTDOWN_DELAY: "1s" });

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
    for (let round = 0; round < rounds; round++) {
      for (const instance of instances) {
        instance.running.kill("SIGTERM");
        const { code, stderr } = await instance.running.exit;
        expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
        instance.running = await start(instance.port);
        await front.allUp();
      }
    }
    const counts = await Promise.all([rest.stop(), rpc.stop()]);
    agent.destroy();
    grpc?.close();
    for (const answers of counts) expect([...answers.keys()]).toEqual([JSON.stringify({ json })]);
    const calls = counts.flatMap((answers) => [...answers.values()]).reduce((sum, count) => sum + count, 0);
    process.stdout.write(`${rounds * instances.length} restarts, ${calls} calls, 0 lost\n`);
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
