import { type Setting, settings } from "../../src/config/settings.ts";

/** A setting of which hardly anyone needs another value. */
type MarkedSetting = Setting<unknown> & { readonly tuning?: boolean };

const entries = Object.entries<MarkedSetting>(settings);
const isOfGet = (name: string) => name.startsWith("STATUS_");

/** The tables of docs/operate/configuration.md, by the names of their places. */
export const settingTables: Readonly<Record<string, string>> = {
  settings: settingTable(entries.filter(([name, { tuning }]) => !isOfGet(name) && tuning !== true)),
  "settings of get": settingTable(entries.filter(([name]) => isOfGet(name))),
  "tuning settings": settingTable(entries.filter(([name, { tuning }]) => !isOfGet(name) && tuning === true)),
};

function settingTable(chosen: readonly (readonly [string, MarkedSetting])[]): string {
  const rows = chosen.map(([name, { default: preset, takes, help }]) =>
    row(`\`${name}\``, preset === undefined ? "" : `\`${preset}\``, help, takes.replaceAll("*", "\\*")),
  );
  return [row("variable", "default", "what it is for", "takes"), "|---|---|---|---|", ...rows].join("\n");
}

/** A metric as OpenMetrics text describes it. */
interface Metric {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly labels: readonly string[];
}

/** The tables of docs/operate/metrics.md, from what `/metrics` has answered. */
export function metricTables(text: string): Readonly<Record<string, string>> {
  const metrics = metricsOf(text);
  const isOfNode = ({ name }: Metric) => /^(?:process|nodejs)_/.test(name);
  return {
    "metrics of the service": serviceTable(metrics.filter((metric) => !isOfNode(metric))),
    "metrics of Node": nodeTable(metrics.filter(isOfNode)),
  };
}

function metricsOf(text: string): Metric[] {
  return Array.from(text.matchAll(/^# HELP (\S+) (.*)$/gm), ([, name = "", help = ""]) => {
    const [, type = ""] = new RegExp(`^# TYPE ${name} (\\S+)$`, "m").exec(text) ?? [];
    const samples = text.matchAll(new RegExp(`^${name}(?:_total|_count|_sum)?\\{([^}]*)\\}`, "gm"));
    const labels = Array.from(samples, ([, pairs = ""]) =>
      [...pairs.matchAll(/(\w+)=/g)].map(([, label]) => label),
    );
    return { name, type, help, labels: [...new Set(labels.flat())].filter((label) => label !== undefined) };
  });
}

function serviceTable(metrics: readonly Metric[]): string {
  const rows = metrics.map(({ name, type, labels, help }) =>
    row(`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(", "), help),
  );
  return [row("metric", "type", "labels", "what it is"), "|---|---|---|---|", ...rows].join("\n");
}

/** Without labels: which of them there are depends on what the process has done so far. */
function nodeTable(metrics: readonly Metric[]): string {
  const rows = metrics.map(({ name, type, help }) => row(`\`${name}\``, type, help));
  return [row("metric", "type", "what it is"), "|---|---|---|", ...rows].join("\n");
}

/** @returns a page with tables in their places: `<!-- generated: name -->` to `<!-- end -->`. */
export function withTables(text: string, tables: Readonly<Record<string, string>>): string {
  return Object.entries(tables).reduce((page, [name, table]) => {
    const place = new RegExp(`(<!-- generated: ${name} -->\\n).*?(<!-- end -->)`, "s");
    if (!place.test(page)) throw new Error(`the page has no place for the table "${name}"`);
    return page.replace(place, (_, begin, end) => `${begin}\n${table}\n\n${end}`);
  }, text);
}

function row(...cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`.replaceAll(/ {2,}/g, " ");
}
