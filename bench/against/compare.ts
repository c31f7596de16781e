/** `npm run bench -- --against FOLDER`: compares the service of this checkout with that of another one. */
import { type Checkout, thisCheckout } from "../checkout.ts";
import { startDatabase } from "../database.ts";
import type { Phase } from "../load/phase.ts";
import { chooseCpus, pinRest } from "../machine.ts";
import { measurePair, type Pair, type Side } from "./pair.ts";
import { comparisonReport, cpuPerAnswer } from "./report.ts";

/**
 * @param log takes a line about the progress.
 * @returns the report in markdown.
 * @throws Error when a side does not start, or gives a wrong answer.
 */
export async function compareCheckouts(
  other: Checkout,
  { rows, rounds }: { rows: number; rounds: number },
  log: (line: string) => void,
): Promise<string> {
  const cpus = chooseCpus();
  const started = performance.now();

  log("preparing a database for each checkout");
  await using database = await startDatabase();
  // The same rows in a database each, since the schemas of the two checkouts may differ.
  await using tableA = await database.provideFor(thisCheckout, "against_a", rows);
  await using tableB = await database.provideFor(other, "against_b", rows);
  await pinRest(cpus, database.pid);

  const a: Side = { label: "A", checkout: thisCheckout, table: tableA };
  const b: Side = { label: "B", checkout: other, table: tableB };
  const seen: Record<Phase["protocol"], Pair[]> = { rest: [], grpc: [] };
  for (let round = 0; round < rounds; round++) {
    const order: [Side, Side] = round % 2 === 0 ? [a, b] : [b, a];
    for (const protocol of ["rest", "grpc"] as const) {
      const pair = await measurePair(protocol, order, database, cpus);
      seen[protocol].push(pair);
      log(`round ${round + 1} of ${rounds}, ${protocol}: ${progress(pair)}`);
    }
  }
  const minutes = (performance.now() - started) / 60_000;
  return comparisonReport({ sides: [a, b], rounds: seen, minutes });
}

function progress({ A, B }: Pair): string {
  return (["saturation", "part"] as const)
    .map((load) => {
      const [a, b] = [A, B].map((windows) => cpuPerAnswer(windows[load], "server")) as [number, number];
      return `${load} A ${a.toFixed(1)}, B ${b.toFixed(1)} µs of server CPU an answer`;
    })
    .join("; ");
}
