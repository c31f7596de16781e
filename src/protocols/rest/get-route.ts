import { create, getOption, type Message } from "@bufbuild/protobuf";
import { type Events, fullName, type UnaryEndpoint } from "../../endpoints/endpoint.ts";
import { http } from "../../gen/google/api/annotations_pb.ts";
import { type Call, callerGone } from "../../status/call.ts";
import type { Observer } from "../../status/observation.ts";
import { type HttpRequest, type HttpResponse, pathOf, refuseOtherMethods, sendJson } from "../http.ts";
import { asksForEvents } from "./accept.ts";
import { cancelWhenClosed } from "./cancellation.ts";
import { answerWithEvents, eventHeaders } from "./events/event-stream.ts";
import { answerFailure } from "./failure.ts";
import type { RestOptions, RestRoute } from "./route.ts";
import { type AskedWait, askedWaitOf, preferenceApplied, takesWait, waitField } from "./wait.ts";
import { writerOf } from "./writers.ts";

/** @returns the route of a `get` whose path ends with one field of the request. It answers with JSON, or with events. */
export function createGetRoute(endpoint: UnaryEndpoint, { life, observe, maxWait }: RestOptions): RestRoute {
  const { method, events } = endpoint;
  const observer = observe("rest", fullName(endpoint));
  const observerOfEvents = events && observe("rest", fullName(events.endpoint));
  const { prefix, field } = readPath(endpoint);
  const withoutSlash = prefix.slice(0, -1);
  const mayWait = takesWait(method.input);
  const { toJson, headersOf } = writerOf(method);

  function messageOf({ url }: HttpRequest, wait?: AskedWait["wait"]): Message {
    const value = decode(pathOf(url).slice(prefix.length));
    return create(
      method.input,
      wait === undefined ? { [field]: value } : { [field]: value, [waitField]: wait },
    );
  }

  function handle(request: HttpRequest, response: HttpResponse, call: Call): void {
    const wantsEvents = events !== undefined && asksForEvents(request.headers.accept);
    if (wantsEvents && request.method === "GET")
      answerEvents(events, observerOfEvents as Observer, request, response, call);
    else void answer(request, response, call, wantsEvents);
  }

  /** @param wantsEvents of HEAD. */
  async function answer(
    request: HttpRequest,
    response: HttpResponse,
    call: Call,
    wantsEvents: boolean,
  ): Promise<void> {
    const observation = observer.start(call);
    if (refuseOtherMethods(request, response)) return observation.end("UNIMPLEMENTED");
    cancelWhenClosed(response, call);
    try {
      const asked = mayWait ? askedWaitOf(request) : undefined;
      // HEAD is told what GET would be, without its wait.
      const granted = request.method === "GET" ? asked : undefined;
      const answer = await life.unary(endpoint, messageOf(request, granted?.wait), call);
      if (wantsEvents) sendHead(response);
      else {
        const applied = granted && preferenceApplied(granted, maxWait);
        const more = headersOf?.(answer);
        sendJson(request, response, 200, toJson(answer), applied ? { ...more, ...applied } : more);
      }
      observation.end("OK");
    } catch (error) {
      if (error === callerGone) observation.end("CANCELLED");
      else answerFailure(request, response, call, observation, error);
    }
  }

  /** No function of the route stays suspended for as long as there are events. */
  function answerEvents(
    { endpoint, toRequest }: Events<never>,
    observer: Observer,
    request: HttpRequest,
    response: HttpResponse,
    call: Call,
  ): void {
    const observation = observer.start(call);
    cancelWhenClosed(response, call);
    call.heldAs = "events";
    const messages = life.stream(endpoint, toRequest(messageOf(request) as never), call, observation);
    void answerWithEvents({ request, response, call, observation, messages });
  }

  return {
    observer,
    matches: (path) => path.startsWith(prefix) || path === withoutSlash,
    handle,
  };
}

/** To HEAD that asks for events. */
function sendHead(response: HttpResponse): void {
  response.writeHead(200, eventHeaders);
  response.end();
}

/** What is not percent-encoded text is no id either, and is refused as such. */
function decode(encoded: string): string {
  if (!encoded.includes("%")) return encoded;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

/** @returns the fixed text in front of the field, with its slash, and the field's name in messages. */
function readPath(endpoint: UnaryEndpoint): { prefix: string; field: string } {
  const { pattern } = getOption(endpoint.method, http);
  const [, prefix, name] = /^(\/[\w/]+\/)\{(\w+)\}$/.exec(pattern.case === "get" ? pattern.value : "") ?? [];
  const field = endpoint.method.input.fields.find((each) => each.name === name);
  if (prefix === undefined || field === undefined) {
    throw new Error(`${fullName(endpoint)} needs a google.api.http path that ends with /{field}`);
  }
  return { prefix, field: field.localName };
}
