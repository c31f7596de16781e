import type { PhaseResult } from "../load/phase.ts";

/** A window of load on the service. */
export interface Window {
  readonly protocol: string;
  readonly load: string;
  readonly result: PhaseResult;
  /** The service's, after the window, in bytes. */
  readonly residentBytes: number;
  /** The window that this one is compared with, measured just before in the same round. */
  readonly comparedWith?: Window | undefined;
}

export function p99({ result }: Window): number {
  return result.latency.p99;
}

export function perSecond({ result }: Window): number {
  return result.answers / result.seconds;
}

/** The share of the calls that were shed, from 0 to 1. */
export function shedShare({ result: { answers, shed } }: Window): number {
  return shed / (answers + shed);
}

/** A window in one line. */
export function describeWindow(window: Window): string {
  const { protocol, load, result, residentBytes } = window;
  const { seconds, latency, cpu } = result;
  return [
    `${protocol}, ${load}: ${Math.round(perSecond(window))} answers/s`,
    `p50 ${latency.p50.toFixed(1)} ms, p99 ${latency.p99.toFixed(1)} ms`,
    `${(100 * shedShare(window)).toFixed(1)} % shed`,
    `${Math.round(residentBytes / 2 ** 20)} MiB`,
    `server ${Math.round((100 * cpu.server) / seconds)} %, others ${Math.round((100 * cpu.others) / seconds)} % of a CPU`,
  ].join("; ");
}
