import { freePort } from "../src/store/embedded.ts";
import type { Candidate } from "./candidates.ts";
import { checkCandidate } from "./check.ts";
import { startChild } from "./children.ts";
import { residentBytes } from "./cpu.ts";
import type { BenchDatabase, Table } from "./database.ts";
import { type Generator, startGenerator } from "./generator.ts";
import type { Phase, PhaseResult } from "./load/phase.ts";
import type { Cpus } from "./machine.ts";
import { concurrency, type Plan } from "./plan.ts";

/** What was seen of one server in one round. */
export interface Measured {
  readonly saturation: PhaseResult;
  /** Statements that read statuses, over answers, during all of the saturation and its warm-up. */
  readonly statementsPerAnswer: number;
  /** Of the server's processes, after saturation, in bytes. */
  readonly residentBytes: number;
  /** In the order of the plan's loads. */
  readonly loads: readonly PhaseResult[];
  readonly serial: PhaseResult;
}

/** Starts a server, checks it, warms it up, measures it, and ends it. */
export async function measure(
  candidate: Candidate,
  table: Table,
  database: BenchDatabase,
  plan: Plan,
  cpus: Cpus,
): Promise<Measured> {
  const port = await freePort();
  await using server = startChild(candidate.name, cpus.server, candidate.command, {
    env: {
      ...process.env,
      ...candidate.env,
      NODE_ENV: "production",
      HOST: "127.0.0.1",
      PORT: `${port}`,
      DATABASE_URL: table.url,
    },
  });
  await using generator: Generator = startGenerator(cpus.generator);
  return await Promise.race([measureStarted(), server.failed]);

  async function measureStarted(): Promise<Measured> {
    await checkCandidate(candidate, port, table);
    const phase: Omit<Phase, "warmUp" | "seconds"> = {
      protocol: candidate.protocol,
      ...concurrency[candidate.protocol],
      port,
      rows: table.rows,
      seed: port,
      answers: candidate.constant ?? table.base,
      serverPid: server.pid,
      databasePid: database.pid,
    };
    const statements = await database.statements();
    const saturation = await generator.run({ ...phase, ...plan.saturation });
    const statementsPerAnswer = ((await database.statements()) - statements) / saturation.answersInAll;
    const memory = residentBytes(server.pid);

    const peak = saturation.answers / saturation.seconds;
    const loads: PhaseResult[] = [];
    for (const { share, ...window } of plan.loads) {
      loads.push(await generator.run({ ...phase, ...window, rate: share * peak }));
    }
    const serial = await generator.run({ ...phase, ...plan.serial, connections: 1, streams: 1 });
    return { saturation, statementsPerAnswer, residentBytes: memory, loads, serial };
  }
}
