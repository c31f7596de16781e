import { spread } from "../report/spread.ts";

/** One way to do a piece of work. */
interface Candidate {
  readonly name: string;
  /** Repeats the work this number of times. */
  readonly run: (times: number) => unknown;
}

const rounds = 7;

/** The CPU time of this process in microseconds. */
function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Runs the candidates in interleaved rounds, and prints the median CPU and elapsed time of one repetition of each. */
export async function compare(title: string, times: number, candidates: readonly Candidate[]): Promise<void> {
  const samples = candidates.map(() => ({ cpu: [] as number[], elapsed: [] as number[] }));
  for (const { run } of candidates) await run(times);
  for (let round = 0; round < rounds; round++) {
    for (const [index, { run }] of candidates.entries()) {
      const before = cpuMicros();
      const start = performance.now();
      await run(times);
      samples[index]?.cpu.push((cpuMicros() - before) / times);
      samples[index]?.elapsed.push(((performance.now() - start) * 1000) / times);
    }
  }
  const column = (values: readonly number[], first: readonly number[]): string => {
    const { median } = spread(values);
    const ratio = (median / spread(first).median).toFixed(2);
    return `${median.toFixed(3).padStart(9)} µs ${ratio.padStart(7)} ×`;
  };
  const [first] = samples;
  process.stdout.write(`\n${`${title}:`.padEnd(54)} ${"CPU".padStart(12)} ${"elapsed".padStart(22)}\n`);
  for (const [index, { name }] of candidates.entries()) {
    const { cpu = [], elapsed = [] } = samples[index] ?? {};
    const columns = `${column(cpu, first?.cpu ?? [])} ${column(elapsed, first?.elapsed ?? [])}`;
    process.stdout.write(`  ${name.padEnd(52)} ${columns}\n`);
  }
}

export function repeat(work: () => unknown): (times: number) => void {
  return (times) => {
    for (let i = 0; i < times; i++) work();
  };
}

export function repeatAsync(work: () => unknown): (times: number) => Promise<void> {
  return async (times) => {
    for (let i = 0; i < times; i++) await work();
  };
}
