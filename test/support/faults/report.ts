import { writeFile } from "node:fs/promises";
import type { Tally } from "./callers.ts";
import type { Delivery } from "./waiting.ts";

/** The measurements of one fault. Times in milliseconds. */
export interface FaultReport {
  readonly name: string;
  readonly tallies: readonly Tally[];
  /** Of the calls that waited. */
  readonly waiting: Delivery;
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

const file = new URL("../../../docs/evidence/reliability.md", import.meta.url);

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

  const waits = reports.map(
    ({ name, waiting: { held, delivered, wrong, ends, heldDeliveredIn, deliveredIn } }) =>
      row(
        name,
        ...[held, delivered, wrong, (ends.DATASTORE_UNAVAILABLE ?? 0) + (ends.DEADLINE_EXCEEDED ?? 0)],
        ...[seconds(heldDeliveredIn), seconds(deliveredIn)],
      ),
  );
  const sumOfWaits = (key: "delivered" | "wrong") =>
    reports.reduce((total, { waiting }) => total + waiting[key], 0).toLocaleString("en");

  await writeFile(
    file,
    `# Reliability: what callers get while the database fails

For those who operate the service: how many calls failed, and how, during each of the faults that \`npm run test:faults\` injects.
After reading, you know what to expect of a fault, and when answers are back.

Written by \`npm run test:faults\`; do not edit. Measured with Node ${process.versions.node} and PostgreSQL ${measured.postgres} on ${process.platform} ${process.arch}.

**In total: ${sum("calls")} calls, ${sum("wrong")} wrong, ${sum("late")} late, ${sum("failed")} failed as documented. Clients that waited were told the end of ${sumOfWaits("delivered")} jobs, ${sumOfWaits("wrong")} times wrongly.**

## How

The service runs in one process, its PostgreSQL in others, and a proxy passes the bytes between them. Each client of each
protocol sends about twenty calls a second, for rows that exist and, in one call of five, for ids that do not. Then the fault
is injected: signals to PostgreSQL's processes, statements of its superuser, or bytes that the proxy delays, cuts, corrupts or adds.
The fault lasts 2.5 seconds; the calls continue for 1.5 seconds after it. The service is never restarted. Faults whose names begin
with "prepared" are those of a service with \`PREPARED_STATEMENTS=on\`; the others have the default, \`auto\`.

The upgrade of PostgreSQL has a server of its own, and lasts as long as its three steps take: a fast shutdown, \`pg_upgrade\`, and the start of the new
version on the same port. After it, all jobs that had succeeded, the list of migrations, and the definitions and privileges of
the table, its constraints, indexes, triggers and functions are those of before, and statements are prepared as before.

- **calls**: those made from shortly before the fault until the end.
- **wrong**: anything but the right status, NOT_FOUND for an id that does not exist, or a documented failure
  (\`DATASTORE_UNAVAILABLE\`, \`DEADLINE_EXCEEDED\`) in its documented form.
- **late**: took longer than its deadline and 50 ms. The deadline is ${measured.requestTimeout} ms (\`REQUEST_TIMEOUT\`), and 500 ms for every
  other RPC, whose caller sets it. The time for which the caller's own process was busy is subtracted.
- **failed**: calls answered with the failure that the database could not be read, or not in time.
- **recovered in**: from the end of the fault to the last call that failed (0: none did).

After each fault: the process is the same, it has written nothing to standard error (an unhandled rejection would end it),
no statement waits for a connection, the database counts as many connections as the service does, and after garbage collection
the heap is at most 16 MB larger than before the first fault. From before the first fault of the first group to after its
last, the heap went from ${mb(measured.heapBefore)} to ${mb(measured.heapAfter)}, and the resident set from ${mb(measured.rssBefore)} to ${mb(measured.rssAfter)}.

**What is not promised.** PostgreSQL's protocol has no checksums. Without TLS, a byte that changes between the database and the
service inside a row or a parameter is not detected (if TCP's own checksum lets it through), so without TLS only the protocol's
framing is corrupted here: the type and the length of messages. With TLS every changed byte is detected; there any byte is
corrupted, in both directions.

## Calls

${[row("fault", "protocol", "calls", "wrong", "late", "failed", "recovered in"), row("---", "---", "--:", "--:", "--:", "--:", "--:"), ...rows].join("\n")}

## Waits and watches

All the time, 200 clients wait for jobs that change: with \`WatchStatus\` for five at a time, with events, and with long polls of
three seconds over gRPC and REST; four more ask for 20 at a time with \`BatchGetStatus\`. Producers write around the faults.
A client whose call ends before its jobs do calls again, when the answer asks it to.

- **held**: the streams that were open, with their first event, when the fault ended.
- **delivered**: final statuses that clients were told from shortly before the fault until all of those below were.
- **wrong**: a status that was never written, is older than what was acknowledged when the call began, comes twice on a stream, goes
  back, or follows a final one; a stream that ends with OK before all of its jobs were final, or for want of the database although it
  was open, with an event, for less than 30 seconds.
- **failed**: calls that ended with \`DATASTORE_UNAVAILABLE\`, or \`DEADLINE_EXCEEDED\` for a first read that took too long.
- **delivered in**: from the end of the fault until every status that was final by then was delivered: to the streams that were
  held, and to all clients, some of which had been asked to come back in up to five seconds.

${[row("fault", "held", "delivered", "wrong", "failed", "held: delivered in", "all: delivered in"), row("---", "--:", "--:", "--:", "--:", "--:", "--:"), ...waits].join("\n")}

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
