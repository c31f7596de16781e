import { setTimeout as pause } from "node:timers/promises";
import { finalSince, type JobWriter, type LiveJob } from "./job-writer.ts";
import { createStreamCheck, type StreamCheck } from "./stream-check.ts";
import type { End, Way } from "./way.ts";

/** The calls of all clients that wait in one way. Times in milliseconds. */
export interface WaitTally {
  readonly way: string;
  calls: number;
  events: number;
  /** How many final statuses were delivered. */
  delivered: number;
  wrong: number;
  /** How often calls ended in each way: `OK`, a reason, or how the connection was lost. */
  readonly ends: Record<string, number>;
  /** The longest time from the end of a call that did not report all to the first event of the next. */
  backIn: number;
  readonly complaints: string[];
}

/** The calls of all clients. */
export type WaitSum = Omit<WaitTally, "way" | "backIn">;

/** Clients each of which waits for jobs until they are final, and then for others. Disposing of them ends their calls. */
export interface WaitingClients extends AsyncDisposable {
  /** What has been counted since the last time. */
  takeTallies(): WaitTally[];
  /** How many calls have had an event and are not over. */
  readonly waiting: number;
  /**
   * Jobs whose final status was acknowledged before a time, and that clients still wait for, in words.
   *
   * @param isHeld whether to leave out the clients that have had no event of the call that they wait for.
   */
  undelivered(before: number, isHeld?: boolean): string[];
  /** Lets each client wait for its jobs until they are final, and resolves then. */
  finish(): Promise<void>;
}

/** Clients that wait in the same way. */
export interface ClientGroup {
  readonly way: Way;
  readonly clients: number;
  /** Of one instance of the service, or of several, of which a client takes the next one when it loses a connection. */
  readonly urls: readonly string[];
}

interface WaitingClientsOptions {
  readonly writer: Pick<JobWriter, "pick">;
  readonly groups: readonly ClientGroup[];
  /** As REPLICA_MAX_STALENESS, in milliseconds. Absent: the service reads from the primary alone. */
  readonly maxStaleness?: number;
}

/** How long the datastore must have been unreadable before a stream that has had an event ends for that, in milliseconds. */
const silence = 30_000;
const complaintsKept = 5;
/** What a stream fails with at its start alone, unless the database is away for long. */
const startFailures = new Set(["DATASTORE_UNAVAILABLE", "DEADLINE_EXCEEDED", "OVERLOADED"]);

export function startWaitingClients({
  writer,
  groups,
  maxStaleness = 0,
}: WaitingClientsOptions): WaitingClients {
  const stopping = new AbortController();
  let isFinishing = false;
  /** What each client waits for. */
  const asking = new Map<string, { readonly jobs: readonly LiveJob[]; readonly check: StreamCheck }>();
  const waiting = new Set<string>();
  const tallies = new Map(groups.map(({ way }) => [way, emptyTally(way)]));

  async function waitFor(
    { way, urls }: ClientGroup,
    client: number,
    jobs: readonly LiveJob[],
  ): Promise<void> {
    const key = `${way.name}, client ${client}`;
    let open = jobs;
    let instance = client;
    let endedAt: number | undefined;
    while (open.length > 0 && !stopping.signal.aborted) {
      const tally = () => tallies.get(way) as WaitTally;
      const begunAt = performance.now();
      const onTold = () => {
        if (endedAt !== undefined) tally().backIn = Math.max(tally().backIn, performance.now() - endedAt);
        endedAt = undefined;
        waiting.add(key);
      };
      const check = createStreamCheck(open, { maxStaleness, onTold });
      asking.set(key, { jobs: open, check });
      const url = urls[instance % urls.length] as string;
      const end = await way.attempt(url, client, check, stopping.signal);
      waiting.delete(key);
      if (stopping.signal.aborted) break;
      endedAt ??= performance.now();
      note(tally(), way, end, check, performance.now() - begunAt);
      if (end.isLost) instance++;
      const left = open.filter(({ reqId }) => check.open.has(reqId));
      tally().delivered += open.length - left.length;
      open = left;
      if (open.length > 0)
        await pause(end.retryAfter, undefined, { signal: stopping.signal }).catch(() => {});
    }
    asking.delete(key);
  }

  async function run(group: ClientGroup, client: number): Promise<void> {
    while (!isFinishing && !stopping.signal.aborted) {
      const jobs = writer.pick(group.way.ids);
      if (jobs.length === 0) return;
      await waitFor(group, client, jobs);
    }
  }

  const running = groups.flatMap((group) =>
    Array.from({ length: group.clients }, (_, client) => run(group, client)),
  );
  return {
    takeTallies() {
      const taken = [...tallies.values()];
      for (const { way } of groups) tallies.set(way, emptyTally(way));
      return taken;
    },
    get waiting() {
      return waiting.size;
    },
    undelivered(before, isHeld = false) {
      const clients = [...asking].filter(([key]) => !isHeld || waiting.has(key));
      return clients.flatMap(([key, { jobs, check }]) =>
        jobs
          .filter(
            (job) => check.open.has(job.reqId) && (finalSince(job) ?? Number.POSITIVE_INFINITY) < before,
          )
          .map((job) => `${key}: ${JSON.stringify(job)}`),
      );
    },
    async finish() {
      isFinishing = true;
      await Promise.all(running);
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await Promise.all(running);
      for (const { way } of groups) way[Symbol.dispose]();
    },
  };
}

function emptyTally({ name }: Way): WaitTally {
  return { way: name, calls: 0, events: 0, delivered: 0, wrong: 0, ends: {}, backIn: 0, complaints: [] };
}

/** Counts a call that is over. @param took in milliseconds. */
function note(tally: WaitTally, way: Way, { as }: End, check: StreamCheck, took: number): void {
  const complaints = [...check.complaints];
  if (way.isStream && as === "OK" && check.open.size > 0) complaints.push("OK, but not all are final");
  if (way.isStream && startFailures.has(as) && check.events > 0 && took < silence) {
    complaints.push(`${as} after ${Math.round(took)} ms and ${check.events} events`);
  }
  tally.calls++;
  tally.events += check.events;
  tally.wrong += complaints.length;
  tally.ends[as] = (tally.ends[as] ?? 0) + 1;
  tally.complaints.push(...complaints.slice(0, complaintsKept - tally.complaints.length));
}

/** Adds up what was counted in every way. */
export function sumOfWaits(tallies: readonly WaitTally[]): WaitSum {
  const sum = {
    calls: 0,
    events: 0,
    delivered: 0,
    wrong: 0,
    ends: {} as Record<string, number>,
    complaints: [] as string[],
  };
  for (const { way, ends, complaints, ...counts } of tallies) {
    sum.calls += counts.calls;
    sum.events += counts.events;
    sum.delivered += counts.delivered;
    sum.wrong += counts.wrong;
    sum.complaints.push(...complaints.map((complaint) => `${way}: ${complaint}`));
    for (const [as, count] of Object.entries(ends)) sum.ends[as] = (sum.ends[as] ?? 0) + count;
  }
  return sum;
}
