import type { Limit } from "./errors.ts";
import { parseReqId, type ReqId } from "./req-id.ts";

/** Work that is done for a call and can be cancelled. */
export interface Cancellable {
  cancel(reason: unknown): void;
}

/** The caller has gone: no answer can reach it. */
export class CallerGone extends Error {
  override readonly name = "CallerGone";
}

/** Why a call is cancelled whose caller has gone. Made once, with its stack trace: a client may cancel many calls. */
export const callerGone = new CallerGone("the caller has gone");

/** Why a held call ends whose caller has ended its sending side: it is answered with what is known, without an error. */
export const answerNow = Symbol("answer now");

/** What a held call waits for. */
export const heldKinds = ["wait", "watch", "events", "health", "reflection"] as const;
export type HeldKind = (typeof heldKinds)[number];

/**
 * How a held call ended: each of its ids is final, or there is none left (`gone`); its time was over; the service, or its
 * connection, went away; the caller did; it failed; or the limit that shed it.
 */
export type HeldOutcome = "final" | "gone" | "time over" | "drained" | "cancelled" | "failed" | Limit;

/**
 * One call, whatever its protocol: who calls, until when an answer is of use, and whether it still is.
 *
 * Its deadline and cancellation are cheaper than an AbortSignal with a timer, of which the hot paths would need one a call:
 * whatever works for the call compares {@link deadline} with the clock, and is attached while there is something to cancel.
 */
export class Call implements Cancellable {
  /** When its headers had arrived, in milliseconds of `performance.now()`. */
  readonly arrivedAt = performance.now();
  /** When an answer is of no use any more, in milliseconds of `performance.now()`. */
  deadline: number;
  /** The caller's name for the request, or ours (the header `X-Request-Id`). */
  requestId: string | undefined;
  /** The name of the caller's token. */
  caller: string | undefined;
  /** The address that the connection comes from: the caller's, or the last proxy's. */
  peer: string | undefined;
  /** What identifies the caller's token. It is no secret. */
  token: string | undefined;
  /** The connection that the call came on: an object that the calls of one connection share. */
  connection: object | undefined;
  /** The id of the job that is asked for, as the caller wrote it. */
  asked: string | undefined;
  /** Set while, and after, the call is held. A protocol sets it before, where it is of another kind than its endpoint's. */
  heldAs: HeldKind | undefined;
  /** What carries the answer of a stream, with the bytes that the client has not taken yet. */
  carrier: { readonly writableLength: number } | undefined;
  /** How a held call ended, as far as its code does not tell. */
  heldOutcome: HeldOutcome | undefined;
  #cancelled = false;
  #reason: unknown;
  #first: Cancellable | undefined;
  #others: Cancellable[] | undefined;
  #controller: AbortController | undefined;

  constructor(deadline = Number.POSITIVE_INFINITY) {
    this.deadline = deadline;
  }

  /** The job that is asked for. Undefined while nothing is known of it, and when what was asked for is no id. */
  get reqId(): ReqId | undefined {
    if (this.asked === undefined) return undefined;
    try {
      return parseReqId(this.asked);
    } catch {
      return undefined;
    }
  }

  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Why the call was cancelled: what its work rejects with. */
  get reason(): unknown {
    return this.#reason;
  }

  /** Fires when the call is cancelled. For handlers that wait; the hot paths {@link attach} instead. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#cancelled) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Has the work cancelled when the call is, until it is detached. Not for a call that is cancelled already. */
  attach(work: Cancellable): void {
    if (this.#first === undefined) this.#first = work;
    else {
      this.#others ??= [];
      this.#others.push(work);
    }
  }

  detach(work: Cancellable): void {
    if (this.#first === work) {
      this.#first = this.#others?.pop();
      return;
    }
    const at = this.#others?.indexOf(work) ?? -1;
    if (at !== -1) this.#others?.splice(at, 1);
  }

  /** Only the first reason counts. */
  cancel(reason: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#reason = reason;
    const first = this.#first;
    const others = this.#others;
    this.#first = undefined;
    this.#others = undefined;
    first?.cancel(reason);
    if (others !== undefined) for (const work of others) work.cancel(reason);
    this.#controller?.abort(reason);
  }
}

/** Whether a call is cancelled without an answer. One that is to be answered now still gets what there is. */
export function mustEnd({ cancelled, reason }: Call): boolean {
  return cancelled && reason !== answerNow;
}
