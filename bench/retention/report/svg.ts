import type { Sample } from "../days/sample.ts";
import { keptHours, simulatedHours } from "../plan.ts";
import { relations } from "./growth.ts";
import type { Report } from "./report.ts";

const width = 960;
const plot = { x: 70, width: 700, height: 150, gap: 60, top: 60 };

const colors = ["#0969da", "#bf3989", "#1a7f37", "#8c959f"] as const;
const style = `
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .quiet { fill: #59636e; font-size: 12px; }
  .grid { stroke: #d1d9e0; }
  polyline { fill: none; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .grid { stroke: #3d444d; }
  }`;

interface Curve {
  readonly name: string;
  readonly points: readonly { readonly hour: number; readonly value: number }[];
}

/** A plot of the curves over the simulated days. */
export function svg({ date, machine, plan, days: { samples }, compared }: Report): string {
  const curve = (name: string, of: (sample: Sample) => number, from = samples): Curve => ({
    name,
    points: from.map((sample) => ({ hour: sample.hour, value: of(sample) })),
  });
  const charts = [
    chart(
      "Size, MB",
      relations(samples).map(({ name, sizeOf }) => curve(name, (each) => sizeOf(each) / 1e6)),
    ),
    chart("Dead rows, in thousands", [curve("dead rows", ({ dead }) => dead / 1e3)]),
    chart("Lookups by id, ms", [
      curve("p99", ({ lookups }) => lookups.p99),
      curve("p50", ({ lookups }) => lookups.p50),
    ]),
    chart(
      `Size by the way to delete, MB, ${plan.comparedRows.toLocaleString("en")} jobs in ${keptHours} h`,
      compared.map(({ removal, samples: these }) => {
        const { sizeOf } = relations(these).at(-1) as ReturnType<typeof relations>[number];
        return curve(removal, (each) => sizeOf(each) / 1e6, these);
      }),
    ),
  ];
  const height = plot.top + charts.length * (plot.height + plot.gap);
  const groups = charts.map(
    (draw, index) =>
      `<g transform="translate(0 ${plot.top + index * (plot.height + plot.gap)})">\n${draw}\n</g>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="Retention">
<style>${style}
</style>
<text class="quiet" x="10" y="20">${date.slice(0, 10)}, ${escapeXml(machine.cpu ?? "")}, ${plan.rows.toLocaleString("en")} jobs in ${keptHours} simulated hours; purged from hour ${keptHours} on</text>
${groups.join("\n")}
</svg>
`;
}

/** Curves over the simulated hours, with a scale that begins at 0. */
function chart(title: string, curves: readonly Curve[]): string {
  const top = niceCeiling(Math.max(...curves.flatMap(({ points }) => points.map(({ value }) => value))));
  const x = (hour: number): number => round(plot.x + (hour / simulatedHours) * plot.width);
  const y = (value: number): number => round(plot.height - (value / top) * plot.height);
  const hours = [0, keptHours, ...[1, 2, 3].map((day) => keptHours + 24 * day)];
  const lines = [0, top / 2, top].map(
    (value) =>
      `<line class="grid" x1="${plot.x}" x2="${plot.x + plot.width}" y1="${y(value)}" y2="${y(value)}"/>` +
      `<text class="quiet" x="${plot.x - 6}" y="${y(value) + 4}" text-anchor="end">${value.toLocaleString("en")}</text>`,
  );
  const marks = hours.map(
    (hour) =>
      `<line class="grid" x1="${x(hour)}" x2="${x(hour)}" y1="0" y2="${plot.height}"/>` +
      `<text class="quiet" x="${x(hour)}" y="${plot.height + 16}" text-anchor="middle">${hour} h</text>`,
  );
  const drawn = curves.map(({ name, points }, index) => {
    const color = colors[index % colors.length] as string;
    const path = points.map(({ hour, value }) => `${x(hour)},${y(value)}`).join(" ");
    return (
      `<polyline stroke="${color}" points="${path}"/>` +
      `<text x="${plot.x + plot.width + 12}" y="${16 + 20 * index}" style="fill: ${color}">${escapeXml(name)}</text>`
    );
  });
  return [
    `<text class="title" x="${plot.x}" y="-12">${escapeXml(title)}</text>`,
    ...lines,
    ...marks,
    ...drawn,
  ].join("\n");
}

/** The least of 1, 2 and 5 times a power of ten that is not below. */
export function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= value) ?? value;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
