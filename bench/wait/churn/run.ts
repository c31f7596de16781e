import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Bench } from "../bench.ts";
import { startService } from "../measure/service.ts";
import { churn } from "./churn.ts";

const plan = { changes: 100_000, rate: 2_000, live: 5_000, clients: 1_000 } as const;
const file = join(import.meta.dirname, "..", "..", "results", "wait-churn.md");
const failuresShown = 20;

/** Runs the churn against the service, and writes bench/results/wait-churn.md. @returns the report in markdown. */
export async function runChurn({ cpus, table, takeRows }: Bench): Promise<string> {
  await using service = await startService(table, cpus.server);
  const { failures, lines } = await Promise.race([
    churn({ url: table.url, port: service.port, ...plan, firstRow: takeRows(plan.changes + plan.live) }),
    service.failed,
  ]);
  const verdict =
    failures.length === 0
      ? "Every final status was delivered, none twice on one stream, none backwards."
      : `${failures.length} failures:\n${failures
          .slice(0, failuresShown)
          .map((failure) => `\n- ${failure}`)
          .join("")}`;
  const text = `# Waiting under churn, ${new Date().toISOString().slice(0, 10)}

\`npm run bench:wait -- --churn\`: clients wait for jobs in every way, connect, leave, stall and are reset, while statuses change.

${verdict}

${lines.map((line) => `- ${line}`).join("\n")}
`;
  await writeFile(file, text);
  if (failures.length > 0) process.exitCode = 1;
  return text;
}
