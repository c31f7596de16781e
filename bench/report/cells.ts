import type { PhaseResult } from "../load/phase.ts";
import type { Measured } from "../round.ts";
import type { Series } from "./series.ts";
import { type Spread, spread } from "./spread.ts";

type Of = (measured: Measured) => number;

/** The median of the rounds. */
export function middle({ measured }: Series, of: Of, digits: number): string {
  return number(spread(measured.map(of)).median, digits);
}

/** The median of the rounds, with the least and the greatest. */
export function range({ measured }: Series, of: Of, digits: number): string {
  const all = spread(measured.map(of));
  return measured.length === 1 ? number(all.median, digits) : withExtremes(all, digits);
}

export function withExtremes({ median, min, max }: Spread, digits: number): string {
  return `${number(median, digits)} (${number(min, digits)} to ${number(max, digits)})`;
}

/** The median of the rounds, as a percentage of a CPU. */
export function percent(series: Series, of: Of): string {
  return `${middle(series, (measured) => of(measured) * 100, 0)} %`;
}

/** The median of the rounds, in µs an answer. */
export function micros(series: Series, of: (measured: Measured) => PhaseResult, who: "server" | "database") {
  return middle(series, (measured) => (of(measured).cpu[who] / of(measured).answers) * 1e6, 1);
}

export function number(value: number, digits: number): string {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A table in markdown whose first column is text, and whose other columns are numbers. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}
