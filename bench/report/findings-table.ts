import { isBeside } from "../candidates.ts";
import { table } from "./cells.ts";
import type { Report } from "./report.ts";
import type { Spread } from "./spread.ts";

/** The findings in markdown, those of the service in another checkout beside them. */
export function findingsTable({ findings, series }: Report): string {
  const other = series.find(isBeside)?.candidate.name;
  return `## The service compared

Ratios are taken within each round; the table gives the median of the rounds.

${table(
  ["", "median", "least to greatest", ...(other === undefined ? [] : [other, "least to greatest"])],
  findings.map(({ what, unit, beside, ...ours }) => [
    what,
    ...finding(ours, unit),
    ...(beside === undefined ? [] : finding(beside, unit)),
  ]),
)}`;
}

/** The median and the extremes. */
function finding({ median, min, max }: Spread, unit: string): [string, string] {
  const digits = median < 0.1 ? 3 : 2;
  return [`${median.toFixed(digits)} ${unit}`, `${min.toFixed(digits)} to ${max.toFixed(digits)}`];
}
