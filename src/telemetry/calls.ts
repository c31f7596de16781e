import type { Call } from "../status/call.ts";

/** How a call went. */
export interface CallOutcome {
  /** The gRPC status code by its name: `OK`, `NOT_FOUND`. */
  readonly code: string;
  /** In milliseconds. */
  readonly duration: number;
  readonly info: Call;
  /** What went wrong, when the service is at fault. */
  readonly fault: unknown;
}

/** Learns of the calls of one method over one protocol. */
interface CallListener {
  started?(): void;
  ended(outcome: CallOutcome): void;
}

/** Makes a listener, once for each method and protocol. */
export type ListenToCalls = (protocol: string, method: string) => CallListener;

/** Measures each call once, for all listeners. */
export function observeCalls(everyListener: readonly ListenToCalls[]) {
  const observers = new Map<string, { start(info: Call): Observation }>();

  return (protocol: string, method: string) => {
    const key = `${protocol} ${method}`;
    let observer = observers.get(key);
    if (observer === undefined) {
      const listeners = everyListener.map((listenTo) => listenTo(protocol, method));
      observer = { start: (info) => new Observation(listeners, info) };
      observers.set(key, observer);
    }
    return observer;
  };
}

/** The observation of one call, and its outcome. A class, since each call has one: closures would cost more. */
class Observation implements CallOutcome {
  readonly #listeners: readonly CallListener[];
  readonly info: Call;
  code = "";
  duration = 0;
  fault: unknown = undefined;
  #isOver = false;

  constructor(listeners: readonly CallListener[], info: Call) {
    this.#listeners = listeners;
    this.info = info;
    for (const listener of listeners) listener.started?.();
  }

  end(code: string, fault?: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.code = code;
    this.fault = fault;
    this.duration = performance.now() - this.info.arrivedAt;
    for (const listener of this.#listeners) listener.ended(this);
  }

  message(): void {}
}
