import { setTimeout as pause } from "node:timers/promises";
import type { Urls } from "../ha/front.ts";
import { until } from "../until.ts";
import { batchOverGrpc, waitOverGrpc, watchOverGrpc } from "../waiting/grpc-ways.ts";
import { startJobWriter } from "../waiting/job-writer.ts";
import { batchOverRest, eventsOverRest, waitOverRest } from "../waiting/rest-ways.ts";
import {
  type ClientGroup,
  startWaitingClients,
  sumOfWaits,
  type WaitSum,
} from "../waiting/waiting-clients.ts";

/** What all calls that waited came to during a fault. Times in milliseconds, from the fault's end. */
export interface Delivery extends WaitSum {
  /** The streams that were open, with an event, when the fault ended. */
  readonly held: number;
  /** Until what was final by then was delivered to the streams that were held, and to all clients. */
  readonly heldDeliveredIn: number;
  readonly deliveredIn: number;
}

/** Clients that wait in every way for jobs that change. */
export interface Waiting extends AsyncDisposable {
  /** Waits until what was final at the end of a fault is delivered, or for `longest` milliseconds. */
  delivery(endedAt: number, longest: number): Promise<Delivery>;
  /** Makes all jobs final, and waits until each client has been told. @returns what was counted since the last delivery. */
  finish(): Promise<WaitSum>;
}

/** How long a long poll waits, in milliseconds: about as long as a fault lasts. */
const longPoll = 3_000;
const batchPause = 500;
const checkPause = 10;

/** How many clients wait in each way: 200, and those that poll in batches. */
function everyWay({ rest, grpc }: Urls): ClientGroup[] {
  return [
    { way: watchOverGrpc(5), clients: 60, urls: [grpc] },
    { way: waitOverGrpc(longPoll), clients: 40, urls: [grpc] },
    { way: batchOverGrpc(20, batchPause), clients: 2, urls: [grpc] },
    { way: eventsOverRest(), clients: 60, urls: [rest] },
    { way: waitOverRest(longPoll), clients: 40, urls: [rest] },
    { way: batchOverRest(20, batchPause), clients: 2, urls: [rest] },
  ];
}

/** @param writerUrl of the database, around the faults. @param urls of the service. */
export async function startWaiting(writerUrl: string, urls: Urls): Promise<Waiting> {
  await using started = new AsyncDisposableStack();
  const writer = started.use(await startJobWriter(writerUrl, { jobs: 100, pace: 100 }));
  const groups = everyWay(urls);
  const clients = started.use(startWaitingClients({ writer, groups }));
  const streams = groups.filter(({ way }) => way.isStream).reduce((sum, group) => sum + group.clients, 0);
  await until("most of the streams are open", () => clients.waiting > streams / 2, 20_000);

  /** @returns when nothing was undelivered any more, in milliseconds after `since`. */
  async function deliveredIn(since: number, longest: number, isHeld: boolean): Promise<number> {
    const until = since + longest;
    while (performance.now() <= until && clients.undelivered(since, isHeld).length > 0)
      await pause(checkPause);
    return performance.now() - since;
  }

  const running = started.move();
  return {
    async delivery(endedAt, longest) {
      const held = clients.waiting;
      const [heldDeliveredIn, allDeliveredIn] = await Promise.all(
        [true, false].map((isHeld) => deliveredIn(endedAt, longest, isHeld)),
      );
      const left = clients.undelivered(endedAt).slice(0, 5);
      const { complaints, ...sums } = sumOfWaits(clients.takeTallies());
      return {
        ...sums,
        complaints: [...complaints, ...left],
        held,
        heldDeliveredIn: heldDeliveredIn ?? 0,
        deliveredIn: allDeliveredIn ?? 0,
      };
    },
    async finish() {
      await writer.finish();
      await clients.finish();
      return sumOfWaits(clients.takeTallies());
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
