import { startGenerator } from "../../generator.ts";
import type { PhaseResult } from "../../load/phase.ts";
import { concurrency } from "../../plan.ts";
import type { Bench } from "../bench.ts";
import { constantAnswer, insertJobs } from "../jobs.ts";
import { plan } from "../plan.ts";
import { startService } from "./service.ts";

/** What clients cost that ask every two seconds. CPU as shares of one CPU. */
export interface PollingResult {
  readonly protocol: "rest" | "grpc";
  readonly distinct: number;
  readonly server: number;
  readonly database: number;
  readonly others: number;
  readonly latency: PhaseResult["latency"];
}

/** Over REST each client has a keep-alive connection of its own; over gRPC they share as many as those that watch. */
export async function measurePolling(
  { admin, cpus, database, table, takeRows }: Bench,
  protocol: "rest" | "grpc",
  distinct: number,
): Promise<PollingResult> {
  await using service = await startService(table, cpus.server);
  await using generator = startGenerator(cpus.generator);
  return await Promise.race([measureStarted(), service.failed]);

  async function measureStarted(): Promise<PollingResult> {
    const jobs = await insertJobs(admin, { first: takeRows(distinct), count: distinct, age: 0 });
    const connections = protocol === "rest" ? plan.clients : plan.connections;
    const phase = {
      protocol,
      port: service.port,
      rows: distinct,
      firstRow: jobs.first,
      seed: 0,
      answers: constantAnswer(jobs, protocol),
      serverPid: service.pid,
      databasePid: database.pid,
    };
    // A service whose code is not compiled yet would shed calls at that rate.
    await generator.run({ ...phase, ...concurrency[protocol], warmUp: 0, seconds: plan.polling.warmUp });
    // The calls of a client come round every two seconds: the generator uses its free places in turn.
    const { latency, cpu, seconds } = await generator.run({
      ...phase,
      connections,
      streams: plan.clients / connections,
      rate: plan.clients / plan.pollInterval,
      ...plan.polling,
    });
    return {
      protocol,
      distinct,
      server: cpu.server / seconds,
      database: cpu.database / seconds,
      others: cpu.others / seconds,
      latency,
    };
  }
}
