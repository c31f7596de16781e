import type { Checkout } from "../checkout.ts";
import { outputOf } from "../children.ts";
import type { Phase, PhaseResult } from "../load/phase.ts";
import { comparison } from "../plan.ts";
import { number, table, withExtremes } from "../report/cells.ts";
import { disturbance } from "../report/disturbance.ts";
import { commitOf } from "../report/versions.ts";
import type { Pair, Side, Windows } from "./pair.ts";
import { compareFigures } from "./verdict.ts";

/** A comparison with all of its rounds. */
export interface ComparisonRun {
  readonly sides: readonly Side[];
  readonly rounds: Readonly<Record<Phase["protocol"], Pair[]>>;
  readonly minutes: number;
}

interface Figure {
  readonly title: string;
  readonly digits: number;
  /** The figure of one round. Less is better. */
  readonly of: (windows: readonly PhaseResult[]) => number;
}

const figures: readonly Figure[] = [
  { title: "server CPU, µs an answer", digits: 1, of: (windows) => cpuPerAnswer(windows, "server") },
  { title: "database CPU, µs an answer", digits: 1, of: (windows) => cpuPerAnswer(windows, "database") },
  { title: "p50, ms", digits: 3, of: (windows) => mean(windows.map(({ latency }) => latency.p50)) },
];
const protocols = { rest: "REST", grpc: "gRPC" } as const;

/** The comparison in markdown. */
export function comparisonReport({ sides, rounds, minutes }: ComparisonRun): string {
  const all = Object.values(rounds).flat();
  const disturbed = disturbance(
    all.flatMap(({ A, B }) => [A, B]).flatMap(({ saturation, part }) => [...saturation, ...part]),
  );
  const parts = [
    sides.map(({ label, checkout }) => `${label}: ${describe(checkout)}`).join("  \n"),
    `${number(sides[0]?.table.rows ?? 0, 0)} rows, median of ${rounds.rest.length} interleaved rounds (with the least and the greatest), ${number(minutes, 1)} minutes.`,
    "A/B is taken within each round: above 1, A takes more.",
    ...(disturbed === undefined ? [] : [`**${disturbed}**`]),
    table(["", "A", "B", "A/B", "A is"], [...rowsOf("rest", rounds.rest), ...rowsOf("grpc", rounds.grpc)]),
  ];
  return `${parts.join("\n\n")}\n`;
}

function rowsOf(protocol: Phase["protocol"], pairs: readonly Pair[]): string[][] {
  const name = protocols[protocol];
  const loads: Record<keyof Windows, string> = {
    saturation: `${name} at saturation`,
    part: `${name} at ${number(comparison.rate, 0)} calls/s`,
  };
  return (["saturation", "part"] as const).flatMap((load) =>
    figures.map(({ title, digits, of }) => {
      const { a, b, ratio, verdict } = compareFigures(
        pairs.map(({ A }) => of(A[load])),
        pairs.map(({ B }) => of(B[load])),
      );
      return [
        `${loads[load]}: ${title}`,
        withExtremes(a, digits),
        withExtremes(b, digits),
        withExtremes(ratio, 3),
        verdict,
      ];
    }),
  );
}

function describe({ folder, node }: Checkout): string {
  return [folder, commitOf(folder), `Node ${outputOf(node, "--version")}`].filter(Boolean).join(", ");
}

/** In µs. */
export function cpuPerAnswer(windows: readonly PhaseResult[], who: "server" | "database"): number {
  return (1e6 * sum(windows.map(({ cpu }) => cpu[who]))) / sum(windows.map(({ answers }) => answers));
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
