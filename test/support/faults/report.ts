import { writeFile } from "node:fs/promises";
import type { Tally } from "./callers.ts";

/** The measurements of one fault. Times in milliseconds. */
export interface FaultReport {
  readonly name: string;
  readonly tallies: readonly Tally[];
  /** From the fault's start to "not ready", and from its end to "ready"; undefined: the service stayed ready. */
  readonly notReadyAfter: number | undefined;
  readonly readyAfter: number | undefined;
}

interface Measured {
  readonly postgres: string;
  readonly requestTimeout: number;
  readonly heapBefore: number;
  readonly heapAfter: number;
  readonly rssBefore: number;
  readonly rssAfter: number;
}

const file = new URL("../../../docs/reliability.md", import.meta.url);

/** Writes the measurements of a run into a page of docs. */
export async function writeReport(reports: readonly FaultReport[], measured: Measured): Promise<void> {
  const sum = (key: "calls" | "wrong" | "late" | "failed") =>
    reports
      .flatMap(({ tallies }) => tallies)
      .reduce((total, tally) => total + tally[key], 0)
      .toLocaleString("en");
  const mb = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MB`;
  const rows = reports.flatMap(({ name, tallies }) =>
    tallies.map(({ family, calls, wrong, late, failed, recoveredIn }, index) =>
      row(index === 0 ? name : "", family, calls, wrong, late, failed, `${seconds(recoveredIn)}`),
    ),
  );
  const readiness = reports
    .filter(({ notReadyAfter }) => notReadyAfter !== undefined)
    .map(({ name, notReadyAfter = 0, readyAfter = 0 }) =>
      row(name, seconds(notReadyAfter), seconds(readyAfter)),
    );

  await writeFile(
    file,
    `# Reliability under database faults

For those who operate the service: how calls and readiness behave while its database is broken in one of ${reports.length} ways.

Written by \`npm run test:faults\`; do not edit. Measured with Node ${process.versions.node} and PostgreSQL ${measured.postgres} on ${process.platform} ${process.arch}.

**In total: ${sum("calls")} calls, ${sum("wrong")} wrong, ${sum("late")} late, ${sum("failed")} failed as documented.**

## How

The service runs in a process of its own, with a real PostgreSQL, and a proxy between the two. Each client of each
protocol makes about twenty calls a second, four of five for known ids and one for an unknown id. Then the fault is
injected: signals to PostgreSQL's processes, statements of its superuser, or a disturbance of the network by the proxy. It
lasts 2.5 seconds; the calls go on for 1.5 seconds after its end. The service is never restarted.

- **calls**: the calls from shortly before the fault until 1.5 seconds after its end.
- **wrong**: any answer but the right status, NOT_FOUND for an unknown id, or a documented failure
  (\`DATASTORE_UNAVAILABLE\`, \`DEADLINE_EXCEEDED\`) in its documented form.
- **late**: the answer came more than 50 ms after the call's deadline. The deadline is ${measured.requestTimeout} ms (\`REQUEST_TIMEOUT\`), and 500 ms for
  every other RPC, which carries its own. Time during which the caller's own process was busy does not count.
- **failed**: the call ended with \`DATASTORE_UNAVAILABLE\` or \`DEADLINE_EXCEEDED\`.
- **recovered in**: from the end of the fault to the last call that failed (0: no call failed after it).

After each fault, the service is the same process and has written nothing to standard error (an unhandled rejection would end
it), no call waits for a connection, the database counts as many connections as the service does, and after garbage collection
the heap is at most 16 MB larger than before the first fault. From before the first fault of the first group to after its
last, the heap went from ${mb(measured.heapBefore)} to ${mb(measured.heapAfter)}, and the resident set from ${mb(measured.rssBefore)} to ${mb(measured.rssAfter)}.

**Limitation.** PostgreSQL's protocol has no checksums. Without TLS, neither side detects a changed byte inside a row or a
parameter that TCP's checksum has let through, so without TLS only the protocol's framing is corrupted here: the type and the
length of messages. TLS detects every changed byte; with TLS any byte is corrupted, in both directions.

## Calls

${[row("fault", "protocol", "calls", "wrong", "late", "failed", "recovered in"), row("---", "---", "--:", "--:", "--:", "--:", "--:"), ...rows].join("\n")}

## Readiness

How long after the start and after the end of a fault both \`/readyz\` and \`grpc.health.v1\` had changed. During the other
faults they stay ready, or are not ready for a moment.

${[row("fault", "not ready after", "ready after"), row("---", "--:", "--:"), ...readiness].join("\n")}
`,
  );
}

function row(...cells: (string | number)[]): string {
  return `| ${cells.join(" | ")} |`;
}

function seconds(ms: number): string {
  return ms === 0 ? "0" : `${(Math.ceil(ms / 10) / 100).toFixed(2)} s`;
}
