import type { Checkout } from "../checkout.ts";
import type { BenchDatabase, Table } from "../database.ts";
import { startGenerator } from "../generator.ts";
import type { Phase, PhaseResult } from "../load/phase.ts";
import type { Cpus } from "../machine.ts";
import { comparison } from "../plan.ts";
import { phaseOf, startServer } from "../server.ts";
import { calmest, type PairedWindows } from "./calm.ts";
import { renameSettings } from "./renamed-settings.ts";

/** One of the two checkouts. */
export interface Side {
  readonly label: "A" | "B";
  readonly checkout: Checkout;
  readonly table: Table;
}

/** The windows of one side in one round that the report uses, at each load. */
export interface Windows {
  readonly saturation: readonly PhaseResult[];
  readonly part: readonly PhaseResult[];
}

/** The windows of both sides in one round, over one protocol. */
export type Pair = Readonly<Record<Side["label"], Windows>>;

/**
 * Starts both sides, warms both up, and measures them in turn.
 *
 * @param first is measured first and last, and the other side twice in between, so that a machine that becomes
 *   steadily faster or slower favours neither. The sequence runs twice, and the half with the least disturbance counts.
 */
export async function measurePair(
  protocol: Phase["protocol"],
  [first, second]: readonly [Side, Side],
  database: BenchDatabase,
  cpus: Cpus,
): Promise<Pair> {
  await using one = await startSide(first);
  await using two = await startSide(second);
  await using generator = startGenerator(cpus.generator);
  return await Promise.race([measureStarted(), one.server.failed, two.server.failed]);

  async function startSide({ label, checkout: { folder, serve }, table }: Side) {
    const env = renameSettings(folder, process.env);
    const candidate = { name: `${label}, ${folder}`, protocol, command: serve, cwd: folder, env };
    const server = await startServer(candidate, table, cpus.server);
    return {
      label,
      server,
      phase: phaseOf(candidate, server, table, database),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  }

  async function measureStarted(): Promise<Pair> {
    for (const { phase } of [one, two]) {
      await generator.run({ ...phase, warmUp: 0, seconds: comparison.warmUp });
    }
    const saturation = await inTurn(comparison.saturation);
    const { rate } = comparison;
    for (const { phase } of [one, two]) {
      await generator.run({ ...phase, rate, warmUp: 0, seconds: comparison.partWarmUp });
    }
    const part = await inTurn({ ...comparison.part, rate });
    return {
      A: { saturation: saturation.A, part: part.A },
      B: { saturation: saturation.B, part: part.B },
    };
  }

  async function inTurn(load: Pick<Phase, "warmUp" | "seconds" | "rate">): Promise<PairedWindows> {
    const seen: Record<Side["label"], PhaseResult[]> = { A: [], B: [] };
    for (const { label, phase } of [one, two, two, one, one, two, two, one]) {
      seen[label].push(await generator.run({ ...phase, ...load }));
    }
    return calmest(seen);
  }
}
