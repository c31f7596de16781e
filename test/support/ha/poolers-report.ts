import { writeFile } from "node:fs/promises";

/** The calls of one service through a pooler. */
export interface PoolerReport {
  readonly pooler: string;
  /** PREPARED_STATEMENTS. */
  readonly mode: string;
  readonly calls: number;
  readonly wrong: number;
  readonly failed: number;
  /** How many final statuses clients were told that waited for them. */
  readonly delivered: number;
  /** How often the service has logged that a prepared statement was not kept. */
  readonly notKept: number;
}

const file = new URL("../../../docs/evidence/poolers.md", import.meta.url);

/** Writes the measurements of a run into a page of docs. @param version of pgbouncer. */
export async function writePoolersReport(reports: readonly PoolerReport[], version: string): Promise<void> {
  const sum = (key: "calls" | "wrong" | "failed") =>
    reports.reduce((total, report) => total + report[key], 0).toLocaleString("en");
  const rows = reports.map(
    ({ pooler, mode, calls, wrong, failed, delivered, notKept }, index) =>
      `| ${pooler === reports[index - 1]?.pooler ? "" : pooler} | \`${mode}\` | ${calls} | ${wrong} | ${failed} | ${delivered} | ${notKept} |`,
  );
  await writeFile(
    file,
    `# Poolers: what callers see when the database is reached through one

For those who operate the service behind a connection pooler: whether its prepared statements cost a call there. After reading,
you know that \`PREPARED_STATEMENTS\` can stay as it is. Written by \`npm run test:ha\`; do not edit. Measured with pgbouncer ${version} and
Node ${process.versions.node}.

**In all: ${sum("calls")} calls, ${sum("wrong")} wrong, ${sum("failed")} failed.**

## How

Four services read through one pooler at the same time, and so share its server connections, which it uses in turn: one with
\`PREPARED_STATEMENTS=auto\`, two with \`on\`, one with \`off\`. Clients of REST, Connect, gRPC-Web and gRPC call each of them for rows that
exist and, in one call of five, for ids that do not. Twenty more clients of each wait for jobs that change, with watches, events and long
polls.

pgbouncer ${version} knows nothing of its clients' prepared statements. pgbouncer 1.21 and later can keep them, and the tests have no package
of it: a **stand-in** does what its documentation and its source say, as \`test/support/ha/statement-pooler\` describes.

- **wrong**: anything but the right status, or NOT_FOUND for an id that does not exist.
- **failed**: calls answered with the failure that the database could not be read, or not in time.
- **told**: how many final statuses the clients were told that waited for them. What they were told wrongly, and how often their calls
  failed, counts in the columns before.
- **not kept**: how often the service has logged that a prepared statement was not kept. It logs that once in a minute at most.

| pooler | \`PREPARED_STATEMENTS\` | calls | wrong | failed | told | not kept |
| --- | --- | --: | --: | --: | --: | --: |
${rows.join("\n")}
`,
  );
}
