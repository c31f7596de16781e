/** What is known of a call besides how it went. */
export interface CallInfo {
  /** The job that was asked for. */
  readonly reqId: string | undefined;
  /** By which the caller, or its answer, names the request. */
  readonly requestId: string | undefined;
  /** The name of the caller's token. */
  readonly caller: string | undefined;
  /** The address that the call came from. */
  readonly peer: string | undefined;
}

/** How a call went. */
export interface CallOutcome {
  /** The gRPC status code by its name: `OK`, `NOT_FOUND`. */
  readonly code: string;
  /** In milliseconds. */
  readonly duration: number;
  readonly info: CallInfo;
  /** What went wrong, when the service is at fault. */
  readonly fault: unknown;
}

/** Learns of the calls of one method over one protocol. */
interface CallListener {
  started?(): void;
  ended(outcome: CallOutcome): void;
  /** A call that started does not count. */
  discarded?(): void;
}

/** Makes a listener, once for each method and protocol. */
export type ListenToCalls = (protocol: string, method: string) => CallListener;

/** Measures each call once, for all listeners. */
export function observeCalls(everyListener: readonly ListenToCalls[]) {
  const observers = new Map<string, { start(info: CallInfo): Observation }>();

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
  readonly #startedAt = performance.now();
  readonly #listeners: readonly CallListener[];
  readonly info: CallInfo;
  code = "";
  duration = 0;
  fault: unknown = undefined;
  #isOver = false;

  constructor(listeners: readonly CallListener[], info: CallInfo) {
    this.#listeners = listeners;
    this.info = info;
    for (const listener of listeners) listener.started?.();
  }

  end(code: string, fault?: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.code = code;
    this.fault = fault;
    this.duration = performance.now() - this.#startedAt;
    for (const listener of this.#listeners) listener.ended(this);
  }

  discard(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const listener of this.#listeners) listener.discarded?.();
  }
}
