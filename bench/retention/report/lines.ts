import { type Sample, totalBytes } from "../days/sample.ts";
import type { RealTimeWindow } from "../real-time/window.ts";

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

/** A sample in one line, for the terminal. */
export function describeSample(sample: Sample): string {
  const { hour, after, dead, vacuums, deleted, lookups, updates, hotUpdates } = sample;
  const indexes = Object.entries(sample.indexes).map(([name, bytes]) => `${name} ${megabytes(bytes)}`);
  return [
    `hour ${hour} after ${after.toFixed(0)} s`,
    `${megabytes(totalBytes(sample))} (${indexes.join(", ")})`,
    `${dead} dead rows, ${vacuums} vacuums, ${deleted} deleted`,
    `${((100 * hotUpdates) / updates).toFixed(0)} % HOT`,
    `p50 ${lookups.p50.toFixed(2)} ms, p99 ${lookups.p99.toFixed(2)} ms`,
  ].join("; ");
}

/** A window in one line, for the terminal. */
export function describeWindow({ round, protocol, result, inserts, vacuum, purge }: RealTimeWindow): string {
  const { latency, cpu, seconds } = result;
  const share = (used: number): string => `${((100 * used) / seconds).toFixed(0)} %`;
  return [
    `round ${round + 1}, ${protocol}, ${purge === undefined ? "without purge" : `batches of ${purge.batch}`}`,
    `p50 ${latency.p50.toFixed(2)} ms, p99 ${latency.p99.toFixed(2)} ms`,
    `${inserts.toFixed(0)} inserts/s`,
    ...(purge === undefined
      ? []
      : [`${purge.rate.toFixed(0)} purged/s${purge.isWhole ? "" : ", not whole"}`]),
    `vacuum ${(100 * vacuum).toFixed(0)} %`,
    `server ${share(cpu.server)}, database ${share(cpu.database)}, others ${share(cpu.others)}`,
  ].join("; ");
}
