import { setTimeout as pause } from "node:timers/promises";
import { realTime } from "../plan.ts";
import { openProducer } from "../producer.ts";
import { submit } from "../statements.ts";

/** Producers that submit jobs at a fixed rate. Disposing of them ends them after their turns. */
export interface PacedProducers extends AsyncDisposable {
  /** Jobs submitted so far. */
  submitted(): number;
  /** Rejects when a job was not there. */
  readonly failed: Promise<never>;
}

const producers = 4;
const turnsPerSecond = 25;
const jobsPerChunk = realTime.inserts / producers / turnsPerSecond;
/** A job is started after a second, ends after another one, and is submitted again four seconds after it was submitted. */
const turns = { start: turnsPerSecond, end: 2 * turnsPerSecond, again: 4 * turnsPerSecond };

/** How long it takes until jobs are in every part of their lives, in seconds. */
export const settleSeconds = (turns.again + turns.end) / turnsPerSecond;

/** @param firstJob the first one that is not in the table. */
export async function startPaced(url: string, firstJob: number): Promise<PacedProducers> {
  await using opened = new AsyncDisposableStack();
  const stopping = new AbortController();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  let submitted = 0;
  const running: Promise<void>[] = [];
  for (let index = 0; index < producers; index++) {
    const producer = opened.use(
      await openProducer({
        url,
        session: "",
        firstJob: firstJob + index * jobsPerChunk,
        jobsPerChunk,
        stride: producers * jobsPerChunk,
        turns,
        submit: submit("now()"),
      }),
    );
    running.push(keepPace(producer.takeTurn, index / producers).catch(failure.reject));
  }
  opened.defer(async () => {
    stopping.abort();
    await Promise.all(running);
  });
  const started = opened.move();

  /** @param offset of its turns, as a share of the time between two. */
  async function keepPace(takeTurn: () => Promise<void>, offset: number): Promise<void> {
    const interval = 1000 / turnsPerSecond;
    let due = performance.now() + offset * interval;
    while (!stopping.signal.aborted) {
      await pause(Math.max(0, due - performance.now()));
      await takeTurn();
      submitted += jobsPerChunk;
      // A producer that was late does not make up for it: lookups would notice that.
      due = Math.max(due + interval, performance.now());
    }
  }

  return {
    submitted: () => submitted,
    failed: failure.promise,
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}
