import { answerNow, type Call, type Cancellable, type HeldKind } from "./call.ts";
import { goingAway, type HoldLimit, unauthenticated } from "./errors.ts";
import { type Link, LinkedList } from "./linked-list.ts";

/** Bounds the calls that are held: those that are answered when something changes, and cost memory until then. */
export interface Holds {
  /**
   * Holds a call until {@link Held.release}, or until the call is cancelled: a stream that is reset while its client takes
   * nothing is not read on, and its end would never be reached.
   *
   * @returns the limit that sheds the call.
   */
  enter(call: Call, kind: HeldKind): Held | HoldLimit;
  /** How many calls of a kind are held. */
  count(kind: HeldKind): number;
  /**
   * Ends the held streams whose token is not accepted any more, and from then on those whose token was accepted with their
   * headers and is not when they are to be held. A wait ends as it would have, and health watches need no token.
   *
   * @param isKnown whether a token is accepted, and under this name: the limits of a token go by its name.
   */
  endUnauthenticated(isKnown: (token: string, name: string | undefined) => boolean): void;
}

/** The place of one held call. */
export interface Held {
  release(): void;
}

export interface HoldsOptions {
  readonly maxWaiting: number;
  /** Of one connection. */
  readonly maxConcurrentStreams: number;
}

/** The share of {@link HoldsOptions.maxConcurrentStreams} that held calls leave to others. */
const shareOfConnection = 0.8;

/** The share of a limit that the calls of one token may have. */
export const shareOfToken = 0.5;

const held = Symbol("held");
const hasEnded = Symbol("hasEnded");

const needToken: ReadonlySet<HeldKind | undefined> = new Set(["watch", "events", "reflection"]);

/** A connection with the calls that are held on it. */
type Connection = object & { [held]?: LinkedList<Call>; [hasEnded]?: true };

export function createHolds({ maxWaiting, maxConcurrentStreams }: HoldsOptions): Holds {
  const all = new LinkedList<Call>();
  const maxOfToken = Math.max(1, Math.floor(maxWaiting * shareOfToken));
  const maxOfConnection = Math.max(1, Math.floor(maxConcurrentStreams * shareOfConnection));
  const ofTokens = new Map<string, number>();
  const ofKinds = new Map<HeldKind, number>();

  let isKnown: Parameters<Holds["endUnauthenticated"]>[0] = () => true;

  function isAccepted({ heldAs, token, caller }: Call): boolean {
    return token === undefined || !needToken.has(heldAs) || isKnown(token, caller);
  }

  function limitOf({ caller, connection }: Call): HoldLimit | undefined {
    if (all.size >= maxWaiting) return "MAX_WAITING";
    if (caller !== undefined && (ofTokens.get(caller) ?? 0) >= maxOfToken) return "MAX_WAITING";
    const ofConnection = (connection as Connection | undefined)?.[held]?.size ?? 0;
    return ofConnection >= maxOfConnection ? "MAX_CONCURRENT_STREAMS" : undefined;
  }

  function count(call: Call, by: 1 | -1): void {
    const { caller, heldAs } = call;
    if (caller !== undefined) add(ofTokens, caller, by);
    if (heldAs !== undefined) add(ofKinds, heldAs, by);
  }

  return {
    enter(call, kind) {
      call.heldAs ??= kind;
      const limit = limitOf(call);
      if (limit !== undefined) {
        call.heldOutcome = limit;
        return limit;
      }
      if (!isAccepted(call)) call.cancel(unauthenticated);
      if (call.cancelled) return { release() {} };
      count(call, 1);
      return new HeldCall(call, all, () => count(call, -1));
    },
    count: (kind) => ofKinds.get(kind) ?? 0,
    endUnauthenticated(isKnownNow) {
      isKnown = isKnownNow;
      for (const call of all.toArray()) if (!isAccepted(call)) call.cancel(unauthenticated);
    },
  };
}

/** The keys are few: names of tokens, and kinds. */
function add<K>(counts: Map<K, number>, key: K, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}

class HeldCall implements Held, Cancellable {
  readonly #call: Call;
  readonly #links: readonly Link<Call>[];
  #onRelease: (() => void) | undefined;

  constructor(call: Call, all: LinkedList<Call>, onRelease: () => void) {
    this.#call = call;
    this.#onRelease = onRelease;
    const connection = call.connection as Connection | undefined;
    if (connection !== undefined) connection[held] ??= new LinkedList();
    const lists = connection?.[held] === undefined ? [all] : [all, connection[held]];
    this.#links = lists.map((list) => list.add(call));
    call.attach(this);
    // The end of the request may be that of the sending side, too.
    if (connection?.[hasEnded]) call.cancel(answerNow);
  }

  release(): void {
    this.#call.detach(this);
    this.cancel();
  }

  cancel(): void {
    for (const link of this.#links) link.remove();
    this.#onRelease?.();
    this.#onRelease = undefined;
  }
}

/** Whether calls are held on a connection. */
export function holdsCalls(connection: Connection): boolean {
  return (connection[held]?.size ?? 0) > 0;
}

/** Has the calls that are held on an HTTP/1.1 connection answer, since its caller has ended its sending side or has gone. */
export function answerHeldCalls(connection: Connection): void {
  connection[hasEnded] = true;
  endHeldCalls(connection, answerNow);
}

/** Ends the calls that are held on a connection with `GOING_AWAY`. @returns whether there were any. */
export function sendAwayHeldCalls(connection: Connection): boolean {
  return endHeldCalls(connection, goingAway);
}

function endHeldCalls(connection: Connection, reason: unknown): boolean {
  const calls = connection[held]?.toArray() ?? [];
  for (const call of calls) call.cancel(reason);
  return calls.length > 0;
}
