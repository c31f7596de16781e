import type { Call } from "../status/call.ts";
import {
  type Observation,
  type Observe,
  type Observer,
  observeNothing,
  type ProtocolName,
} from "../status/observation.ts";

/** How a call ended. */
export interface CallOutcome {
  readonly call: Call;
  /** The gRPC status code by its name: `OK`, `NOT_FOUND`. */
  readonly code: string;
  /** From the arrival of the call's headers to its end, in milliseconds. */
  readonly duration: number;
  /** What went wrong, when the service is at fault. */
  readonly fault: unknown;
}

/** Receives the events of all calls of one method over one protocol: for the log, the metrics, a trace. */
export interface CallListener {
  started?(call: Call): void;
  /** A message of a stream was sent. */
  message?(call: Call): void;
  ended?(outcome: CallOutcome): void;
}

/** Makes a listener, once for each method and protocol. */
export type ListenToCalls = (protocol: ProtocolName, method: string) => CallListener;

/** @returns what observes each call once for all listeners, and measures its duration. */
export function observeCalls(everyListener: readonly ListenToCalls[]): Observe {
  if (everyListener.length === 0) return observeNothing;
  const observers = new Map<ProtocolName, Map<string, Observer>>();

  return (protocol, method) => {
    let ofProtocol = observers.get(protocol);
    if (ofProtocol === undefined) {
      ofProtocol = new Map();
      observers.set(protocol, ofProtocol);
    }
    let observer = ofProtocol.get(method);
    if (observer === undefined) {
      const listeners = everyListener.map((listenTo) => listenTo(protocol, method));
      observer = { start: (call) => new ObservedCall(listeners, call) };
      ofProtocol.set(method, observer);
    }
    return observer;
  };
}

/** The observation of one call, and its outcome. Every call has one: a class costs less than closures. */
class ObservedCall implements Observation, CallOutcome {
  readonly call: Call;
  code = "";
  duration = 0;
  fault: unknown = undefined;
  readonly #listeners: readonly CallListener[];
  #hasEnded = false;

  constructor(listeners: readonly CallListener[], call: Call) {
    this.#listeners = listeners;
    this.call = call;
    for (const listener of listeners) listener.started?.(call);
  }

  message(): void {
    for (const listener of this.#listeners) listener.message?.(this.call);
  }

  end(code: string, fault?: unknown): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.code = code;
    this.fault = fault;
    this.duration = performance.now() - this.call.arrivedAt;
    for (const listener of this.#listeners) listener.ended?.(this);
  }
}
