import type { Message } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import type { Admission } from "../status/admission.ts";
import { type Call, type HeldKind, mustEnd } from "../status/call.ts";
import { overloaded } from "../status/errors.ts";
import type { Held, Holds } from "../status/holds.ts";
import type { Observation } from "../status/observation.ts";
import type { StreamingEndpoint, UnaryEndpoint } from "./endpoint.ts";

/**
 * The one life of a call, from its request message to its answer, for every endpoint and every protocol: its deadline,
 * admission, cancellation and the time that it is held open. A protocol adds nothing but bytes; failures are mapped in
 * errors.ts, and end a call in failure.ts.
 */
export interface Life {
  /** @throws what {@link UnaryEndpoint.handle} throws; StatusError `OVERLOADED`. */
  unary(
    endpoint: UnaryEndpoint,
    request: Message,
    call: Call,
    context?: HandlerContext,
  ): Promise<ReturnType<UnaryEndpoint["handle"]>>;
  /**
   * @param request of a bidirectional RPC: all of them.
   * @throws what the endpoint throws; StatusError `OVERLOADED`; the reason with which the call was cancelled.
   */
  stream(
    endpoint: StreamingEndpoint,
    request: Message | AsyncIterable<Message>,
    call: Call,
    observation: Observation,
    context?: HandlerContext,
  ): ReturnType<StreamingEndpoint["handle"]>;
}

export interface LifeOptions {
  /** Of calls that read statuses. */
  readonly admission: Admission;
  /** Of calls that are held. */
  readonly holds: Holds;
  /** The longest that a unary call may take that is not held, in milliseconds, whatever its caller's deadline. */
  readonly requestTimeout: number;
}

export function createLife({ admission, holds, requestTimeout }: LifeOptions): Life {
  function hold(call: Call, kind: HeldKind): Held {
    const held = holds.enter(call, kind);
    if (typeof held === "string") throw overloaded(held);
    return held;
  }

  async function holdUnary(...[endpoint, request, call, context]: Parameters<Life["unary"]>) {
    const held = hold(call, "wait");
    try {
      return await endpoint.handle(request, call, context);
    } finally {
      held.release();
    }
  }

  return {
    async unary(endpoint, request, call, context) {
      if (endpoint.isHeld?.(request)) return await holdUnary(endpoint, request, call, context);
      const weight = endpoint.cost === undefined ? 0 : endpoint.cost(request);
      if (weight > 0) {
        const limit = admission.enter(weight, endpoint.isBatch);
        if (limit !== undefined) throw overloaded(limit);
      }
      try {
        call.deadline = Math.min(call.deadline, performance.now() + requestTimeout);
        return await endpoint.handle(request, call, context);
      } finally {
        if (weight > 0) admission.leave(weight, endpoint.isBatch);
      }
    },

    async *stream(endpoint, request, call, observation, context) {
      const held = hold(call, endpoint.heldAs);
      try {
        for await (const message of endpoint.handle(request as never, call, context)) {
          observation.message();
          yield message;
          // The client may have read nothing for long: what else the endpoint has would only be queued.
          if (mustEnd(call)) throw call.reason;
        }
        if (mustEnd(call)) throw call.reason;
      } finally {
        held.release();
      }
    },
  };
}
