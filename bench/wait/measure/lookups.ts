import { startGenerator } from "../../generator.ts";
import type { PhaseResult } from "../../load/phase.ts";
import { concurrency } from "../../plan.ts";
import type { Bench } from "../bench.ts";
import type { Way } from "../clients/ways/ways.ts";
import { ages, plan } from "../plan.ts";
import { startService } from "./service.ts";
import { withCrowd } from "./way.ts";

/** The latency of plain calls, in one window. */
export interface LookupWindow {
  readonly round: number;
  readonly protocol: "rest" | "grpc";
  /** Calls a second. */
  readonly rate: number;
  /** Of the jobs that others wait for meanwhile. 0: there are no others. */
  readonly distinct: number;
  readonly latency: PhaseResult["latency"];
}

/** Measures plain calls alone and beside clients that wait, in turn, on one service. */
export async function measureLookups(bench: Bench, way: Way): Promise<LookupWindow[]> {
  const { cpus, database, table } = bench;
  await using service = await startService(table, cpus.server);
  await using generator = startGenerator(cpus.generator);
  return await Promise.race([measureStarted(), service.failed]);

  async function measureStarted(): Promise<LookupWindow[]> {
    const windows: LookupWindow[] = [];
    for (const protocol of ["rest", "grpc"] as const) await lookUp(protocol, {});
    for (let round = 0; round < plan.lookups.rounds; round++) {
      const crowds = [0, ...plan.distinct];
      for (const distinct of round % 2 === 0 ? crowds : crowds.toReversed()) {
        const measureAll = async () => {
          for (const protocol of ["rest", "grpc"] as const) {
            for (const rate of plan.lookups.rates) {
              const { latency } = await lookUp(protocol, { rate });
              windows.push({ round, protocol, rate, distinct, latency });
            }
          }
        };
        if (distinct === 0) await measureAll();
        else
          await withCrowd(
            bench,
            service,
            { way, distinct, age: ages[0].age, clients: plan.clients },
            measureAll,
          );
      }
    }
    return windows;
  }

  function lookUp(protocol: "rest" | "grpc", { rate }: { rate?: number }): Promise<PhaseResult> {
    const { warmUp, seconds } = plan.lookups;
    return generator.run({
      protocol,
      ...concurrency[protocol],
      port: service.port,
      ...(rate !== undefined && { rate }),
      warmUp,
      seconds,
      rows: table.rows,
      seed: service.port,
      answers: table.base,
      serverPid: service.pid,
      databasePid: database.pid,
    });
  }
}
