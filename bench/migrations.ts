/**
 * `npm run bench:migrations`: the lock that each migration takes on memory_job, and its time, at several numbers of rows. Writes
 * bench/results/migrations.md.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { arch, cpus, platform, tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { startEmbedded } from "../src/store/embedded/embedded.ts";
import { type Measured, measureMigrations } from "./migrations/measure.ts";

const counts = process.argv.slice(2).map(Number);
if (counts.length === 0) counts.push(1_000_000, 5_000_000);
if (!counts.every((count) => Number.isSafeInteger(count) && count > 0)) {
  process.stderr.write("npm run bench:migrations [-- ROWS…]: numbers of rows, by default 1000000 5000000\n");
  process.exit(2);
}

/** PostgreSQL's defaults otherwise: it waits for the disk, and an index is built with 64 MB and two parallel workers. */
const settings = { shared_buffers: "1GB", max_wal_size: "8GB", autovacuum: "off" };

await using stack = new AsyncDisposableStack();
const directory = await mkdtemp(join(tmpdir(), "gomemory-status-bench-"));
stack.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 10 }));
const postgres = stack.use(await startEmbedded({ directory, settings }));
const admin = stack.adopt(new pg.Client(postgres.url), (client) => client.end());
await admin.connect();

const tables: { rows: number; steps: Measured[] }[] = [];
for (const rows of counts) {
  const name = `rows_${rows}`;
  await admin.query(`create database ${name}`);
  const url = Object.assign(new URL(postgres.url), { pathname: name }).href;
  tables.push({ rows, steps: await measureMigrations(url, rows) });
}
const { rows: versions } = await admin.query<{ server_version: string }>("show server_version");

const seconds = (ms: number) => (ms < 1_000 ? `${Math.ceil(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`);
const row = (...cells: readonly string[]) => `| ${cells.join(" | ")} |`;
const [first] = tables;
const lines = (first?.steps ?? []).map(({ name, locks }, index) =>
  row(
    name,
    locks.join(", ") || "none",
    ...tables.flatMap(({ steps }) => {
      const { took = 0, longestRead = 0, longestWrite = 0 } = steps[index] ?? {};
      return [seconds(took), `${seconds(longestRead)}, ${seconds(longestWrite)}`];
    }),
  ),
);
const headings = tables.flatMap(({ rows }) => [
  `${rows.toLocaleString("en")} rows`,
  "longest read, longest write",
]);
await writeFile(
  new URL("./results/migrations.md", import.meta.url),
  `# What each migration costs

Written by \`npm run bench:migrations\`; do not edit. PostgreSQL ${versions[0]?.server_version} on ${platform()} ${arch()}, ${cpus().length} CPUs (${cpus()[0]?.model}), with its
defaults but for ${Object.entries(settings)
    .map(([name, value]) => `\`${name} = ${value}\``)
    .join(", ")}.

A lock is one that \`pg_locks\` shows on \`memory_job\` while the migration runs. While each step runs, one client reads a row by its primary key, and
another moves one on, without a pause: of these the longest time is given. The last rows are for comparison, on the same table.

${[row("", "lock on `memory_job`", ...headings), row("---", "---", ...headings.map(() => "--:")), ...lines].join("\n")}
`,
);
