import { spread } from "../report/spread.ts";
import { p99, perSecond, shedShare, type Window } from "./window.ts";

/** The greatest ratio of p99, and the least ratio of throughput, to the window that a window is compared with. */
export const goals = { p99: 2, throughput: 0.9 };

const head = "| protocol | load | answers/s | p99 ms | p99 ratio | throughput ratio | shed | MiB | goals |";
const alignment = "|---|---|---:|---:|---:|---:|---:|---:|---|";

/** The medians of the rounds in markdown. A ratio is taken within a round, before the median. */
export function overloadTable(windows: readonly Window[]): string {
  const loads = new Set(windows.map(({ load }) => load));
  const rows = ["rest", "grpc"].flatMap((protocol) =>
    Array.from(loads, (load) =>
      row(windows.filter((window) => window.protocol === protocol && window.load === load)),
    ),
  );
  return `${[head, alignment, ...rows].join("\n")}\n`;
}

/** @param windows of one load over one protocol, at least one. */
function row(windows: readonly Window[]): string {
  const median = (value: (window: Window) => number) => spread(windows.map(value)).median;
  const ratio = (value: (window: Window) => number) =>
    median((window) => value(window) / value(window.comparedWith ?? window));
  const [first] = windows as [Window];
  const areMet = ratio(p99) <= goals.p99 && ratio(perSecond) >= goals.throughput;
  const cells = [
    first.protocol,
    first.load,
    Math.round(median(perSecond)),
    median(p99).toFixed(1),
    ratio(p99).toFixed(2),
    ratio(perSecond).toFixed(2),
    `${(100 * median(shedShare)).toFixed(1)} %`,
    Math.round(median(({ residentBytes }) => residentBytes) / 2 ** 20),
    first.comparedWith === undefined ? "" : areMet ? "met" : "not met",
  ];
  return `| ${cells.join(" | ")} |`;
}
