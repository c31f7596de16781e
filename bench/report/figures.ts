import type { PhaseResult } from "../load/phase.ts";
import { type Plan, rateIndex, shareIndex } from "../plan.ts";
import type { Measured } from "../round.ts";

/** Answers per second of server CPU: user and system time of all the server's processes. */
export const perCpuSecond = ({ answers, cpu }: PhaseResult): number => answers / cpu.server;
export const perSecond = ({ answers, seconds }: PhaseResult): number => answers / seconds;
/** In µs. */
export const cpuPerAnswer = ({ answers, cpu }: PhaseResult): number => (1e6 * cpu.server) / answers;
export const databasePerAnswer = ({ answers, cpu }: PhaseResult): number => (1e6 * cpu.database) / answers;

/** The figures of a server at the loads of a plan. */
export function figuresOf(plan: Plan) {
  const at = (index: number, of: (phase: PhaseResult) => number) => (measured: Measured) => {
    const phase = measured.loads[index];
    return phase && of(phase);
  };
  return {
    /** At 30 % of the server's own peak. */
    atShare: (of: (phase: PhaseResult) => number) => at(shareIndex(plan), of),
    /** @param rate in calls a second. */
    atRate: (rate: number, of: (phase: PhaseResult) => number) => at(rateIndex(plan, rate), of),
  };
}
