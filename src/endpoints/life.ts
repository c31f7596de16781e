import type { Message } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import type { Admission } from "../status/admission.ts";
import { answerNow, type Call } from "../status/call.ts";
import { overloaded } from "../status/errors.ts";
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
  /** Of calls that are held open. */
  readonly holdLimit: Admission;
  /** The longest that a unary call may take, in milliseconds, whatever its caller's deadline. */
  readonly requestTimeout: number;
}

export function createLife({ admission, holdLimit, requestTimeout }: LifeOptions): Life {
  return {
    async unary(endpoint, request, call, context) {
      const weight = endpoint.cost === undefined ? 0 : endpoint.cost(request);
      if (weight > 0) {
        const limit = admission.enter(weight);
        if (limit !== undefined) throw overloaded(limit);
      }
      try {
        call.deadline = Math.min(call.deadline, performance.now() + requestTimeout);
        return await endpoint.handle(request, call, context);
      } finally {
        if (weight > 0) admission.leave(weight);
      }
    },

    async *stream(endpoint, request, call, observation, context) {
      const limit = holdLimit.enter(1);
      if (limit !== undefined) throw overloaded(limit);
      const held = new Held(holdLimit);
      // A stream that is reset while its client takes nothing is not read on: its end would never be reached.
      if (call.cancelled) held.cancel();
      else call.attach(held);
      try {
        for await (const message of endpoint.handle(request as never, call, context)) {
          observation.message();
          yield message;
        }
        if (call.cancelled && call.reason !== answerNow) throw call.reason;
      } finally {
        call.detach(held);
        held.cancel();
      }
    },
  };
}

/** The place of one call under the limit of held calls, given back once. */
class Held {
  #limit: Admission | undefined;

  constructor(limit: Admission) {
    this.#limit = limit;
  }

  cancel(): void {
    this.#limit?.leave(1);
    this.#limit = undefined;
  }
}
