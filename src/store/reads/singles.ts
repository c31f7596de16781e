import type { Batch } from "./batch.ts";
import { codeOf, toStatusError } from "./statement-errors.ts";

/** What became of a statement. */
export type Outcome = "answered" | "abandoned" | { readonly failure: unknown };

/** Asks for ids one by one, each with a statement of its own. */
export interface Singles {
  /** Whether another statement could be sent at once. */
  readonly haveRoom: boolean;
  /** How many ids wait until a statement can ask for them. */
  waiting(): number;
  /** @param batches of one id each, from one statement, or in place of one. They are asked for in an order at random. */
  ask(batches: Batch[]): void;
  /** What is not answered yet. */
  unanswered(): Batch[];
}

/** Statements at the same time: for the ids of one batch, and over all. A database in trouble is not asked for more. */
const mostOfGroup = 4;
const mostOverAll = 8;

/** The ids of one batch. */
interface Group {
  waiting: Batch[];
  readonly asking: Batch[];
  /** How many were sent. */
  sent: number;
  /** The SQLSTATEs of those that failed, as long as they are all the same and none was answered. */
  alike: string[] | undefined;
}

interface SinglesOptions {
  /** When the first ids of a group, this number of them, all fail alike, the rest fail unasked. */
  readonly mostAlike: () => number;
  /** Told when a statement is over. */
  readonly onRoom: () => void;
}

/** @param ask sends a batch's statement, tells when that is over, and settles the calls that it has an answer for. */
export function createSingles(
  ask: (batch: Batch, onOver: () => void) => Promise<Outcome>,
  { mostAlike, onRoom }: SinglesOptions,
): Singles {
  let groups: Group[] = [];
  let asking = 0;

  function next(): void {
    for (const group of groups) {
      while (asking < mostOverAll && group.asking.length < mostOfGroup) {
        if (group.alike !== undefined && group.sent >= mostAlike()) break;
        const batch = group.waiting.shift();
        if (batch === undefined) break;
        // Without a call that still waits, there is nothing to ask.
        if (batch.size > 0) void askOne(batch, group);
      }
    }
    groups = groups.filter((group) => group.waiting.length + group.asking.length > 0);
  }

  async function askOne(batch: Batch, group: Group): Promise<void> {
    asking++;
    group.sent++;
    group.asking.push(batch);
    const outcome = await ask(batch, () => {
      asking--;
      group.asking.splice(group.asking.indexOf(batch), 1);
      next();
      onRoom();
    });
    if (outcome === "answered") group.alike = undefined;
    else if (outcome === "abandoned") group.sent--;
    else noteFailure(outcome.failure, batch, group);
    next();
  }

  function noteFailure(failure: unknown, batch: Batch, group: Group): void {
    const error = toStatusError(failure, 1);
    batch.fail(error);
    const code = codeOf(failure);
    if (group.alike?.some((other) => other !== code)) group.alike = undefined;
    group.alike?.push(code);
    if (group.alike === undefined || group.alike.length < mostAlike()) return;
    for (const unasked of group.waiting) unasked.fail(error);
    group.waiting = [];
  }

  return {
    get haveRoom() {
      return asking < mostOverAll;
    },
    waiting() {
      let ids = 0;
      for (const group of groups) ids += group.waiting.length;
      return ids;
    },
    ask(batches) {
      groups.push({ waiting: shuffle(batches), asking: [], sent: 0, alike: [] });
      next();
    },
    unanswered: () => groups.flatMap((group) => [...group.asking, ...group.waiting]),
  };
}

/** Neighbours may live on the same server, and the first that are asked for have to speak for all. */
function shuffle(batches: Batch[]): Batch[] {
  return batches
    .map((batch) => ({ batch, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ batch }) => batch);
}
