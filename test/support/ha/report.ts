import { writeFile } from "node:fs/promises";
import type { WaitSum } from "../waiting/waiting-clients.ts";
import type { Observation } from "./observe.ts";
import type { Tally } from "./pollers.ts";

/** The measurements of one event. */
export interface EventReport {
  readonly name: string;
  /** The longest time in which no write was acknowledged, in milliseconds. */
  readonly writeGap: number;
  readonly services: readonly Observation[];
  /** What each of the services told clients that waited, in the same order. */
  readonly waits: readonly WaitSum[];
}

const file = new URL("../../../docs/evidence/failover.md", import.meta.url);

/**
 * Writes the measurements of a run into a page of docs.
 *
 * @param jobs the number of jobs that were written; at the end, all of their writes were in the database.
 * @param instances the number of instances of each service.
 * @returns the table of the calls.
 */
export async function writeReport(
  reports: readonly EventReport[],
  versions: readonly string[],
  jobs: number,
  instances: number,
): Promise<string> {
  const tallies = reports.flatMap(({ services }) => services.flatMap(({ tallies }) => tallies));
  const count = (of: (tally: Tally) => number) =>
    tallies.reduce((sum, tally) => sum + of(tally), 0).toLocaleString("en");
  const services = [...new Set(reports.flatMap(({ services }) => services.map(({ service }) => service)))];
  const table = tableOf(callHead, reports.flatMap(callRows));
  await writeFile(
    file,
    `# Failover: what callers see while the primary is replaced

For those who operate the service: what a failover of the database costs callers, with and without replicas, when a load
balancer sends calls only to instances that \`/readyz\` reports as ready. After reading, you can choose \`REPLICA_MAX_STALENESS\`. Written by \`npm run test:ha\`; do not edit. Measured
with ${versions.join(", ")}, and Node ${process.versions.node}.

**In all: ${count(({ calls }) => calls)} calls, ${count(({ wrong }) => wrong)} wrong. ${jobs.toLocaleString("en")} jobs were written meanwhile; no acknowledged status was lost.**

${services.map((service) => summary(service, reports)).join("\n")}

## How

Three PostgreSQL servers under Patroni and etcd (\`ttl: 5\`, \`loop_wait: 1\`, \`retry_timeout: 2\`, \`synchronous_mode\`,
\`failsafe_mode\`), and HAProxy with a port for the primary and one for all servers that may be read (\`/read-only\`; \`inter 500ms
fall 1 rise 1 on-marked-down shutdown-sessions\`). Producers write through the job ledger and the primary's port, and
repeat what is not acknowledged. Meanwhile clients call three services; one call in eight is for an id that does not exist:

- **replicas, 10 s**: \`DATABASE_READ_URL\` is the read-only port, and \`REPLICA_MAX_STALENESS\` longer than a failover.
- **replicas, 1 s**: the same with the default of \`REPLICA_MAX_STALENESS\`.
- **primary alone**: no \`DATABASE_READ_URL\`.

Each service has ${instances} instances, and all calls go through an HAProxy of its own that checks \`/readyz\` (\`option httpchk
GET /readyz\`, \`check inter 200ms fall 1 rise 1\`; for gRPC also \`proto h2 check-proto h1\`), with a port for REST and one
for gRPC.

## Calls

- **no writes for**: the longest time in which the database acknowledged nothing to any producer.
- **wrong**: a state that was not written; one that is older than what was acknowledged when the call began (with
  replicas: as long before as the bound says); "not found" for a job whose creation was acknowledged; anything else
  that the contract does not name.
- **failed, known**: calls for jobs that existed, which failed with \`DATASTORE_UNAVAILABLE\` or \`DEADLINE_EXCEEDED\`, or were
  refused by the balancer.
- **failed, others**: the same for ids that do not exist, for jobs whose creation was not acknowledged yet, and for those
  that were created less than 100 ms before the writes ceased. Only a primary can tell that an id does not exist.
- **refused by the balancer**: those of the failed calls that HAProxy answered itself (REST: 503, gRPC: \`UNAVAILABLE\`),
  since it had removed every instance. HAProxy's own statistics confirm it.

${table}

## Waits and watches

All the time, 100 clients of each service wait for jobs that change: with \`WatchStatus\` for five at a time, with events, and with
long polls of five seconds over gRPC and REST. A client whose call ends before its jobs do calls again, when the answer asks it to.

- **delivered**: final statuses that clients were told, until all that was final when the event had passed was delivered.
- **wrong**: a status that was never written, is older than what was acknowledged when the call began (less the bound), comes twice
  on a stream or goes back; "not found"; a stream that ends with OK before all of its jobs were final, or for want of the database
  although it was open for less than 30 seconds.
- **failed**: calls that ended with \`DATASTORE_UNAVAILABLE\` or \`DEADLINE_EXCEEDED\`. A replica's word alone does not end a wait
  with \`failure\`, so that a call for a job that failed fails without a primary.
- **refused by the balancer**: calls that found no instance, or whose connection ended.

${tableOf(waitHead, reports.flatMap(waitRows))}

## The balancer

While the primary is down, \`/readyz\` answers 200 \`degraded\` as long as a replica is fresher than \`REPLICA_MAX_STALENESS\`,
and the balancer keeps the instance. After that time, or at once without a replica, \`/readyz\` answers 503 \`not ready\` and
the balancer removes the instance until the primary is back. With a \`REPLICA_MAX_STALENESS\` that is shorter than the
failover, and without replicas, it removes every instance, and refuses the calls itself.

- **states of \`/readyz\`**: in this order, by the instances' logs; of all instances, where they differ.
- **instances removed**: how often HAProxy removed an instance from the REST port and from the gRPC port.
- **last one removed**: how often that was the last instance.

${tableOf(balancerHead, reports.flatMap(balancerRows))}
`,
  );
  return table;
}

/** The outcome of all events for a service, in a sentence. */
function summary(service: string, reports: readonly EventReport[]): string {
  const observed = reports.flatMap(({ name, services }) =>
    services.filter((one) => one.service === service).flatMap(({ tallies }) => ({ name, tallies })),
  );
  const tallies = observed.flatMap(({ tallies }) => tallies);
  const sum = (of: (tally: Tally) => number) => tallies.reduce((total, tally) => total + of(tally), 0);
  const known = sum(({ failed }) => failed.known);
  const without = observed.filter(({ tallies }) => tallies.some(({ balancer }) => balancer.removedLast > 0));
  const balancer =
    without.length === 0
      ? "the balancer had an instance at any time, and refused no call"
      : `the balancer removed every instance (${without.map(({ name }) => name).join("; ")}), and refused ${sum(({ refused }) => refused)} calls`;
  return `- **${service}**: ${balancer}. Calls for jobs that existed: ${known === 0 ? "none" : known} failed.`;
}

const callHead = [
  "event",
  "no writes for",
  "reads from",
  "protocol",
  "calls",
  "wrong",
  "failed, known",
  "failed, others",
  "refused by the balancer",
];

function callRows({ name, writeGap, services }: EventReport): string[][] {
  const tallies = services.flatMap(({ service, tallies }) => tallies.map((tally) => ({ service, ...tally })));
  return tallies.map(({ service, protocol, calls, wrong, failed, refused }, index) => [
    ...(index === 0 ? [name, `${(writeGap / 1_000).toFixed(1)} s`] : ["", ""]),
    ...[service, protocol],
    ...[calls, wrong, failed.known, failed.others, refused].map(String),
  ]);
}

const waitHead = ["event", "reads from", "delivered", "wrong", "failed", "refused by the balancer"];

function waitRows({ name, services, waits }: EventReport): string[][] {
  return waits.map(({ delivered, wrong, ends }, index) => {
    const { OK: _, DATASTORE_UNAVAILABLE = 0, DEADLINE_EXCEEDED = 0, ...others } = ends;
    const refused = Object.values(others).reduce((sum, count) => sum + count, 0);
    return [
      ...[index === 0 ? name : "", services[index]?.service ?? ""],
      ...[delivered, wrong, DATASTORE_UNAVAILABLE + DEADLINE_EXCEEDED, refused].map(String),
    ];
  });
}

const balancerHead = [
  "event",
  "reads from",
  "states of `/readyz`",
  "instances removed, REST + gRPC",
  "last one removed, REST + gRPC",
];

function balancerRows({ name, services }: EventReport): string[][] {
  return services.map(({ service, readiness, tallies }, index) => [
    index === 0 ? name : "",
    service,
    [...new Set(readiness.map((states) => states.join(", ")))].join("; "),
    tallies.map(({ balancer }) => balancer.removed).join(" + "),
    tallies.map(({ balancer }) => balancer.removedLast).join(" + "),
  ]);
}

/** A table in markdown, with columns of numbers aligned to the right. */
function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const isNumber = (column: number) => rows.every((cells) => /^[\d.]*( |$)/.test(cells[column] ?? ""));
  const line = head.map((_, column) => (isNumber(column) ? "--:" : "---"));
  return [head, line, ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
