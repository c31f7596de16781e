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

/** Runs the candidates in interleaved rounds, and prints the median CPU time of one repetition of each. */
export async function compare(title: string, times: number, candidates: readonly Candidate[]): Promise<void> {
  const samples = candidates.map(() => [] as number[]);
  for (const { run } of candidates) await run(times);
  for (let round = 0; round < rounds; round++) {
    for (const [index, { run }] of candidates.entries()) {
      const before = cpuMicros();
      await run(times);
      samples[index]?.push((cpuMicros() - before) / times);
    }
  }
  const medians = samples.map((one) => one.sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? Number.NaN);
  process.stdout.write(`\n${title}\n`);
  for (const [index, { name }] of candidates.entries()) {
    const median = medians[index] ?? Number.NaN;
    const ratio = (median / (medians[0] ?? Number.NaN)).toFixed(2);
    process.stdout.write(`  ${name.padEnd(52)} ${median.toFixed(3).padStart(9)} µs ${ratio.padStart(7)} ×\n`);
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
