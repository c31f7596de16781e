import { setTimeout as pause } from "node:timers/promises";
import type { Connections } from "../clients/connections.ts";
import { type Way, ways } from "../clients/ways/ways.ts";
import { follow, type Seen } from "./follower.ts";
import type { ChurnJob } from "./jobs.ts";
import { createProducer, type ProducerOptions } from "./producer.ts";

export interface ChurnOptions extends ProducerOptions {
  /** The service's. */
  readonly port: number;
  readonly clients: number;
}

export interface ChurnResult {
  /** Whatever was lost, told twice or backwards. */
  readonly failures: readonly string[];
  /** What happened, for people. */
  readonly lines: readonly string[];
}

/** For how many jobs a client waits that can ask for several, at most. */
const maxIds = 40;
/** Small, so that a stream that is not read blocks. In bytes. */
const window = 1_024;
const connectionsOverHttp2 = 20;
/** How long after the last change a client may still wait for a final status: longer than the longest stall. In milliseconds. */
const patience = 90_000;

/**
 * Changes statuses while clients connect, leave, stall and are reset, and checks that each client that stays or comes back
 * gets the final status of every job that it waits for: once on a stream, and never backwards.
 */
export async function churn({ port, clients, ...producing }: ChurnOptions): Promise<ChurnResult> {
  await using opened = new AsyncDisposableStack();
  const seen: Seen = { failures: [], outcomes: new Map(), fates: new Map(), states: 0, finals: 0 };
  const producer = await createProducer(producing);
  const connections = new Map<Way, Connections>(
    ways.map((way) => [way, way.connect(port, { connections: connectionsOverHttp2, window })]),
  );
  opened.defer(() => {
    for (const each of connections.values()) each.close();
  });

  const startedAt = performance.now();
  let isOver = false;
  let left = clients;
  const followers = Array.from({ length: clients }, async (_, client) => {
    const way = wayOf(client);
    const count = way.takesMany ? 1 + (client % maxIds) : 1;
    await follow({
      client,
      way,
      connections: connections.get(way) as Connections,
      seen,
      jobs: () => (isOver ? [] : someOf(producer.live, count)),
    });
    left--;
  });
  await producer.run();
  isOver = true;
  const finished = Promise.all(followers).then(() => true);
  const isComplete = await Promise.race([finished, pause(patience, false, { ref: false })]);
  if (!isComplete) seen.failures.push(`${left} clients wait for statuses that were committed long ago`);
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  return { failures: seen.failures, lines: describe(seen, producer.changes(), clients, seconds) };
}

/** Half of the clients watch several jobs; the others are spread over the ways to wait for one. */
function wayOf(client: number): Way {
  const many = ways.filter((way) => way.takesMany);
  const one = ways.filter((way) => !way.takesMany);
  const those = client % 2 === 0 ? many : one;
  return those[Math.floor(client / 2) % those.length] as Way;
}

function someOf(jobs: readonly ChurnJob[], count: number): ChurnJob[] {
  const some = new Set<ChurnJob>();
  while (some.size < count) some.add(jobs[Math.floor(Math.random() * jobs.length)] as ChurnJob);
  return [...some];
}

function describe(
  { states, finals, outcomes, fates }: Seen,
  changes: number,
  clients: number,
  seconds: number,
) {
  const counts = (map: ReadonlyMap<string, number>) =>
    [...map]
      .toSorted(([, one], [, other]) => other - one)
      .map(([name, count]) => `${name} ${count.toLocaleString("en")}`)
      .join(", ");
  return [
    `${changes.toLocaleString("en")} changes in ${seconds} s, ${clients.toLocaleString("en")} clients`,
    `states received: ${states.toLocaleString("en")}, of which final: ${finals.toLocaleString("en")}`,
    `calls by what happened to them: ${counts(fates)}`,
    `calls by how they ended: ${counts(outcomes)}`,
  ];
}
