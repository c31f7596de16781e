import { serviceName } from "../candidates.ts";
import type { PhaseResult } from "../load/phase.ts";
import { comparedRates, rateIndex } from "../plan.ts";
import { perCpuSecond } from "./figures.ts";
import { keepsRate } from "./kept-rate.ts";
import type { Report } from "./report.ts";
import type { Series } from "./series.ts";
import { spread } from "./spread.ts";

/** The rate whose latencies are shown, in calls a second. */
const [shownRate] = comparedRates;

const width = 960;
const rowHeight = 26;
const top = 70;
const bars = { x: 270, width: 285 };
const latency = { x: 650, width: 290, from: 0.05, to: 500 };

const style = `
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .quiet { fill: #59636e; font-size: 12px; }
  .ours { fill: #0969da; }
  .others { fill: #8c959f; }
  .grid { stroke: #d1d9e0; }
  .spread { stroke: #1f2328; }
  .range { stroke-width: 4; stroke-linecap: round; }
  .range.ours { stroke: #0969da; }
  .range.others { stroke: #8c959f; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .ours { fill: #4493f8; }
    .others { fill: #656c76; }
    .grid { stroke: #3d444d; }
    .spread { stroke: #f0f6fc; }
    .range.ours { stroke: #4493f8; }
    .range.others { stroke: #656c76; }
  }`;

/** A plot: answers per CPU second as bars, and the latency at part load as lines from p50 to p99. */
export function svg(report: Report): string {
  const shown = report.series.filter(({ table }) => table.rows === report.plan.rows);
  const fastest = Math.max(...shown.map((series) => speed(series).max));
  const height = top + (shown.length + 1) * rowHeight + 30;
  const end = height - 30;
  const ticks = [0.1, 1, 10, 100].map(
    (ms) =>
      `<line class="grid" x1="${onLatency(ms)}" x2="${onLatency(ms)}" y1="${top - 8}" y2="${end}"/>` +
      `<text class="quiet" x="${onLatency(ms)}" y="${end + 16}" text-anchor="middle">${ms} ms</text>`,
  );
  const { rows, quick, rounds } = report.plan;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="Benchmark">
<style>${style}
</style>
<text class="quiet" x="10" y="20">${report.date.slice(0, 10)}, ${escapeXml(report.machine.cpu ?? "")}, ${rows.toLocaleString("en")} rows, ${quick ? "quick run, " : ""}${rounds === 1 ? "one round" : `medians of ${rounds} rounds`}</text>
<text class="title" x="${bars.x}" y="${top - 22}">Answers per second of server CPU</text>
<text class="title" x="${latency.x}" y="${top - 22}">p50 to p99 at ${shownRate.toLocaleString("en")} calls/s</text>
${ticks.join("\n")}
${[...group(report, shown, "rest", "REST", 0, fastest), ...group(report, shown, "grpc", "gRPC", 1, fastest)].join("\n")}
</svg>
`;
}

function group(
  report: Report,
  shown: readonly Series[],
  protocol: string,
  name: string,
  gap: number,
  fastest: number,
): string[] {
  const first =
    protocol === "rest" ? 0 : shown.filter(({ candidate }) => candidate.protocol === "rest").length;
  return shown
    .filter(({ candidate }) => candidate.protocol === protocol)
    .toSorted((a, b) => speed(b).median - speed(a).median)
    .flatMap((series, index) =>
      row(report, series, name, top + (first + index + gap / 2 + 0.5) * rowHeight, fastest),
    );
}

function row(
  { plan }: Report,
  { candidate, measured }: Series,
  protocol: string,
  y: number,
  fastest: number,
): string[] {
  const kind = candidate.name === serviceName ? "ours" : "others";
  const { median, min, max } = speed({ measured });
  const scale = (value: number): number => bars.x + (value / fastest) * bars.width;
  const part = measured.flatMap(({ loads }) => loads[rateIndex(plan, shownRate)] ?? []);
  const note = candidate.constant === undefined ? "" : " (constant answer)";
  const label = `${protocol}: ${candidate.name}${note}`;
  return [
    `<text x="${bars.x - 10}" y="${y + 4}" text-anchor="end"${kind === "ours" ? ' class="title"' : ""}>${escapeXml(label)}</text>`,
    `<rect class="${kind}" x="${bars.x}" y="${y - 8}" width="${round(scale(median) - bars.x)}" height="16" rx="2"/>`,
    `<line class="spread" x1="${round(scale(min))}" x2="${round(scale(max))}" y1="${y}" y2="${y}"/>`,
    `<text class="quiet" x="${round(scale(max) + 6)}" y="${y + 4}">${Math.round(median).toLocaleString("en")}</text>`,
    latencyRange(part, kind, y),
  ];
}

function latencyRange(part: readonly PhaseResult[], kind: string, y: number): string {
  if (!keepsRate(part, shownRate))
    return `<text class="quiet" x="${onLatency(0.1) + 6}" y="${y + 4}">cannot</text>`;
  const p50 = onLatency(spread(part.map((each) => each.latency.p50)).median);
  const p99 = onLatency(spread(part.map((each) => each.latency.p99)).median);
  return `<line class="range ${kind}" x1="${p50}" x2="${p99}" y1="${y}" y2="${y}"/>`;
}

function speed({ measured }: Pick<Series, "measured">) {
  return spread(measured.map(({ saturation }) => perCpuSecond(saturation)));
}

/** The horizontal position of a latency, on a logarithmic scale. */
function onLatency(ms: number): number {
  const { x, from, to } = latency;
  const clamped = Math.min(to, Math.max(from, ms));
  return round(x + (Math.log(clamped / from) / Math.log(to / from)) * latency.width);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
