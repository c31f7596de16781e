import { writeFile } from "node:fs/promises";
import type { Tally } from "./pollers.ts";

/** What came of one event. */
export interface EventReport {
  readonly name: string;
  /** The longest time in which no write was acknowledged, in milliseconds. */
  readonly writeGap: number;
  readonly tallies: readonly Tally[];
}

const file = new URL("../../../docs/failover.md", import.meta.url);

/**
 * Writes what a run has counted into docs/failover.md.
 *
 * @param jobs whose every write was found at the end.
 * @returns the table.
 */
export async function writeReport(
  reports: readonly EventReport[],
  versions: readonly string[],
  jobs: number,
): Promise<string> {
  const tallies = reports.flatMap(({ tallies }) => tallies);
  const count = (of: (tally: Tally) => number) =>
    tallies.reduce((sum, tally) => sum + of(tally), 0).toLocaleString("en");
  const rows = reports.flatMap(({ name, writeGap, tallies }) =>
    tallies.map(({ service, protocol, calls, wrong, failed }, index) =>
      row(
        ...(index === 0 ? [name, `${(writeGap / 1_000).toFixed(1)} s`] : ["", ""]),
        ...[service, protocol, calls, wrong, failed.known, failed.others],
      ),
    ),
  );
  const head = [
    "event",
    "no writes for",
    "reads from",
    "protocol",
    "calls",
    "wrong",
    "failed, known",
    "failed, others",
  ];
  const table = [row(...head), row("---", "--:", "---", "---", "--:", "--:", "--:", "--:"), ...rows].join(
    "\n",
  );
  await writeFile(
    file,
    `# What callers see of a failover

Written by \`npm run test:ha\`; do not edit. Measured with ${versions.join(", ")}, and Node ${process.versions.node}.

**In all: ${count(({ calls }) => calls)} calls, ${count(({ wrong }) => wrong)} wrong. ${jobs.toLocaleString("en")} jobs were written meanwhile: no acknowledged status was lost.**

## How

Three PostgreSQL servers under Patroni and etcd (\`ttl: 5\`, \`loop_wait: 1\`, \`retry_timeout: 2\`, \`synchronous_mode\`,
\`failsafe_mode\`), and HAProxy with a port for the primary and one for whatever may be read (\`/read-only\`; \`inter 500ms
fall 1 rise 1 on-marked-down shutdown-sessions\`). Producers write through the job ledger and the primary's port, and
repeat what is not acknowledged. Three services are asked meanwhile, one time in eight for an id that nobody knows:

- **replicas, 10 s**: \`DATABASE_READ_URL\` is the read-only port, and \`REPLICA_MAX_STALENESS\` longer than a failover.
- **replicas, 1 s**: the same with the default bound.
- **primary alone**: no \`DATABASE_READ_URL\`.

The columns:

- **no writes for**: the longest time in which the database acknowledged nothing to any producer.
- **wrong**: a state that was not written; one that is older than what was acknowledged when the call began (with
  replicas: as long before as the bound says); "not found" for a job whose creation was acknowledged; anything else
  that the contract does not name.
- **failed, known**: calls for jobs that were there, which were told \`DATASTORE_UNAVAILABLE\` or \`DEADLINE_EXCEEDED\`.
- **failed, others**: the same for ids that nobody knows, for jobs whose creation was not acknowledged yet, and for those
  that were created less than 100 ms before the writes ceased. Only a primary can tell that an id does not exist.

## Counts

${table}
`,
  );
  return table;
}

function row(...cells: (string | number)[]): string {
  return `| ${cells.join(" | ")} |`;
}
