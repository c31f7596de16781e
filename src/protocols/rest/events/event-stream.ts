import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { endWithFailure } from "../../../endpoints/failure.ts";
import { type Call, callerGone } from "../../../status/call.ts";
import { StatusError, type StatusErrorReason } from "../../../status/errors.ts";
import { type Begun, requestIdHeader } from "../../begin-call.ts";
import { letEndpointTime } from "../../held-responses.ts";
import type { HttpRequest, HttpResponse } from "../../http.ts";
import { hasGone } from "../../response-end.ts";
import { answerFailure } from "../failure.ts";
import { eventText, type Frame, toFrame } from "./frames.ts";

export const eventHeaders = {
  "Content-Type": "text/event-stream",
  // A proxy that compresses events keeps them back until a block is full.
  "Cache-Control": "no-store, no-transform",
  // nginx would buffer them.
  "X-Accel-Buffering": "no",
};

interface EventCall extends Begun {
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  /** Those of `WatchStatus`, for one id. */
  readonly messages: AsyncIterable<MessageInitShape<DescMessage>>;
}

/** Answers a call with server-sent events, and ends it. */
export async function answerWithEvents(asked: EventCall): Promise<void> {
  const { response, call } = asked;
  letEndpointTime("stream" in response ? response.stream : response, call);
  try {
    await sendEvents(asked);
    asked.observation.end("OK");
  } catch (error) {
    endWithError(asked, error);
  }
}

async function sendEvents({ request, response, call, messages }: EventCall): Promise<void> {
  let last: Frame["last"];
  for await (const message of messages) {
    const frame = toFrame(message);
    last = frame.last;
    if (!response.headersSent) {
      // Without events it is an error, too; and an EventSource does not come back then.
      if (last === "GONE") throw new StatusError("STATUS_NOT_FOUND", "no status (unknown or expired)");
      if (last === "FINAL" && request.headers["last-event-id"] === frame.id) return sendNothing(response);
    }
    if (hasGone(response)) throw callerGone;
    await write(response, call, withOpening(response, call, frame.text));
  }
  response.end(withOpening(response, call, last === undefined ? "" : eventText("end", { reason: last })));
}

/** The caller has the final state: an EventSource comes back even so, and is stopped by this alone. */
function sendNothing(response: HttpResponse): void {
  response.writeHead(204, { "Cache-Control": "no-store" });
  response.end();
}

/**
 * Sends the headers in front of the first text, unless they are sent.
 *
 * @returns the text to write, behind how long an EventSource is to wait before it comes back, in milliseconds: 2 to 4.5 s, so that
 *   those that end together do not come back together, and all of them within five seconds.
 */
function withOpening(response: HttpResponse, { requestId }: Call, text: string): string {
  if (response.headersSent) return text;
  response.writeHead(
    200,
    requestId === undefined ? eventHeaders : { ...eventHeaders, [requestIdHeader]: requestId },
  );
  return `retry: ${2_000 + Math.floor(2_500 * Math.random())}\n\n${text}`;
}

/** Resolves when the client has taken the text, or the call is cancelled: until then no other event is asked for. */
async function write(response: HttpResponse, call: Call, text: string): Promise<void> {
  if (call.cancelled) {
    response.write(text);
    return;
  }
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const waiting = { cancel: resolve };
  call.attach(waiting);
  response.write(text, resolve);
  await promise;
  call.detach(waiting);
}

const passing: ReadonlySet<StatusErrorReason | undefined> = new Set(["OVERLOADED", "DATASTORE_UNAVAILABLE"]);

/**
 * An EventSource comes back after every end, and never after another status than 200: what passes is an event, and what does
 * not is the answer to this call or to the next one.
 */
function endWithError({ request, response, call, observation }: EventCall, error: unknown): void {
  if (error === callerGone) {
    observation.end("CANCELLED");
    return;
  }
  const reason = error instanceof StatusError ? error.reason : undefined;
  const isUnavailable = passing.has(reason);
  const isEvent = isUnavailable || reason === "GOING_AWAY";
  if (!isEvent && !response.headersSent) {
    answerFailure(request, response, call, observation, error);
    return;
  }
  endWithFailure(observation, call, error);
  const text = isEvent ? eventText(isUnavailable ? "unavailable" : "end", { reason }) : "";
  response.end(withOpening(response, call, text));
}
