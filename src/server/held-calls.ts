import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";
import type { HandlerContext } from "@connectrpc/connect";
import { toConnectError } from "../endpoints/errors.ts";
import { rpcCallOf } from "../protocols/connect/rpc-call.ts";
import type { HttpResponse } from "../protocols/http.ts";
import { type Admission, createHoldLimit } from "../status/admission.ts";
import { goingAway, overloaded } from "../status/errors.ts";
import { type Link, LinkedList } from "./linked-list.ts";

/** A call that is answered when something changes. Disposing of it makes room for another. */
interface HeldCall extends Disposable {
  /** Fires when the call is to end: its caller has gone, its deadline has passed, or its connection is to end. */
  readonly signal: AbortSignal;
  /** Whether the call is to end with what is known now, and without an error. */
  readonly isToAnswer: boolean;
  /** @throws the error that the call is to end with, if there is one. */
  throwIfCancelled(): void;
}

/** Holds a call. @throws ConnectError `OVERLOADED` when too many are held. */
export type HoldCall = (context: HandlerContext) => HeldCall;

/** What carries calls: an HTTP/2 session, or the socket of an HTTP/1.1 connection. */
type Carrier = (Http2Session | Socket) & { [held]?: LinkedList<Held> };

const held = Symbol("held");

/** @param waiting absent: there is no limit. */
export function holdCalls(waiting: Admission = createHoldLimit(Number.POSITIVE_INFINITY)): HoldCall {
  return (context) => {
    const limit = waiting.enter(1);
    if (limit !== undefined) throw toConnectError(overloaded(limit));
    return new Held(context, waiting);
  };
}

/** Has the calls that are held on an HTTP/1.1 connection answer, since its caller has ended its sending side or has gone. */
export function answerHeldCalls(carrier: Carrier): void {
  for (const call of carrier[held]?.toArray() ?? []) call.end(answerNow);
}

/** Ends the calls that are held on a connection with `GOING_AWAY`. @returns whether there were any. */
export function sendAwayHeldCalls(carrier: Carrier): boolean {
  const calls = carrier[held]?.toArray() ?? [];
  for (const call of calls) call.end(toConnectError(goingAway));
  return calls.length > 0;
}

const answerNow = Symbol("answer now");

class Held implements HeldCall {
  readonly #controller = new AbortController();
  readonly #waiting: Admission;
  readonly #link: Link<Held> | undefined;
  #isOver = false;

  constructor(context: HandlerContext, waiting: Admission) {
    this.#waiting = waiting;
    const response = rpcCallOf(context)?.response;
    const carrier = response && carrierOf(response);
    if (carrier !== undefined) {
      carrier[held] ??= new LinkedList();
      this.#link = carrier[held].add(this);
    }
    const { signal } = context;
    if (signal.aborted) this.end(signal.reason);
    else signal.addEventListener("abort", () => this.end(signal.reason), { once: true });
    // A stream that is reset while its client takes nothing is not read on, and would not be disposed of.
    response?.once("close", () => this[Symbol.dispose]());
    // The end of the request may be that of the sending side, too.
    if (carrier !== undefined && "readableEnded" in carrier && carrier.readableEnded) this.end(answerNow);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isToAnswer(): boolean {
    return this.signal.reason === answerNow;
  }

  end(reason: unknown): void {
    this.#controller.abort(reason);
  }

  throwIfCancelled(): void {
    if (!this.isToAnswer) this.signal.throwIfAborted();
  }

  [Symbol.dispose](): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#waiting.leave(1);
    this.#link?.remove();
  }
}

/** @returns undefined when the connection is gone. */
function carrierOf(response: HttpResponse): Carrier | undefined {
  return "stream" in response ? response.stream.session : response.req.socket;
}
