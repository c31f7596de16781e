import type { Candidate } from "./candidates.ts";
import { residentBytes } from "./cpu.ts";
import type { BenchDatabase, Table } from "./database.ts";
import { type Generator, startGenerator } from "./generator.ts";
import type { PhaseResult } from "./load/phase.ts";
import type { Cpus } from "./machine.ts";
import type { Plan } from "./plan.ts";
import { phaseOf } from "./server.ts";
import { type Start, startTimed } from "./start.ts";

/** The measurements of one server in one round. */
export interface Measured {
  readonly start: Start;
  /** Resident memory of the server's processes after its start and a few calls, in bytes. */
  readonly residentAtRest: number;
  readonly saturation: PhaseResult;
  /** Statements on memory_job for each answer, over the saturation phase and its warm-up. */
  readonly statementsPerAnswer: number;
  /** Resident memory of the server's processes after saturation, in bytes. */
  readonly residentBytes: number;
  /** One for each of the plan's loads, in the same order. */
  readonly loads: readonly PhaseResult[];
  readonly serial: PhaseResult;
}

/** Starts a server, checks its answers, warms it up, measures it, and ends it. */
export async function measure(
  candidate: Candidate,
  table: Table,
  database: BenchDatabase,
  plan: Plan,
  cpus: Cpus,
): Promise<Measured> {
  await using server = await startTimed(candidate, table, cpus.server);
  const residentAtRest = residentBytes(server.pid);
  await using generator: Generator = startGenerator(cpus.generator);
  return await Promise.race([measureStarted(), server.failed]);

  async function measureStarted(): Promise<Measured> {
    const phase = phaseOf(candidate, server, table, database);
    const statements = await database.statements();
    const saturation = await generator.run({ ...phase, ...plan.saturation });
    const statementsPerAnswer = ((await database.statements()) - statements) / saturation.answersInAll;
    const memory = residentBytes(server.pid);

    const peak = saturation.answers / saturation.seconds;
    const loads: PhaseResult[] = [];
    for (const load of plan.loads) {
      const { warmUp, seconds } = load;
      const rate = "rate" in load ? load.rate : load.share * peak;
      loads.push(await generator.run({ ...phase, warmUp, seconds, rate }));
    }
    const serial = await generator.run({ ...phase, ...plan.serial, connections: 1, streams: 1 });
    const { start } = server;
    return { start, residentAtRest, saturation, statementsPerAnswer, residentBytes: memory, loads, serial };
  }
}
