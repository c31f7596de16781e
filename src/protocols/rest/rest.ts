import {
  create,
  type DescMessage,
  getOption,
  hasOption,
  type MessageInitShape,
  toJsonString,
} from "@bufbuild/protobuf";
import { type Endpoint, fullName, isUnary, type UnaryEndpoint } from "../../endpoints/endpoint.ts";
import type { Life } from "../../endpoints/life.ts";
import { StatusService } from "../../gen/gomemory/status/v1/status_pb.ts";
import { http } from "../../gen/google/api/annotations_pb.ts";
import { type Call, callerGone } from "../../status/call.ts";
import type { Observe, Observer } from "../../status/observation.ts";
import { type HttpRequest, type HttpResponse, pathOf, refuseOtherMethods, sendJson } from "../http.ts";
import { answerFailure } from "./failure.ts";
import { statusJson } from "./status-json.ts";

/** A route as the `google.api.http` option of an RPC spells it: a path that ends with one field of the request. */
export interface RestRoute {
  readonly observer: Observer;
  /** Whether a path, without its query, belongs to this route: with a value, without one, or with a malformed one. */
  matches(path: string): boolean;
  /** Answers a call that is admitted. */
  handle(request: HttpRequest, response: HttpResponse, call: Call): void;
}

/** Writes a response's canonical JSON faster than protobuf-es, and exactly as it does. */
const writers = new Map<unknown, (response: never) => string>([[StatusService.method.getStatus, statusJson]]);

/** @throws Error for an option that is not `get` with a fixed text followed by one field. */
export function createRestRoutes(endpoints: readonly Endpoint[], life: Life, observe: Observe): RestRoute[] {
  return endpoints
    .filter(isUnary)
    .filter(({ method }) => hasOption(method, http) && getOption(method, http).pattern.case === "get")
    .map((endpoint) => createRoute(endpoint, life, observe));
}

function createRoute(endpoint: UnaryEndpoint, life: Life, observe: Observe): RestRoute {
  const { method } = endpoint;
  const observer = observe("rest", fullName(endpoint));
  const { prefix, field } = readPath(endpoint);
  const withoutSlash = prefix.slice(0, -1);
  const toJson =
    (writers.get(method) as ((response: MessageInitShape<DescMessage>) => string) | undefined) ??
    ((response) => toJsonString(method.output, create(method.output, response)));

  async function handle(request: HttpRequest, response: HttpResponse, call: Call): Promise<void> {
    const observation = observer.start(call);
    if (refuseOtherMethods(request, response)) return observation.end("UNIMPLEMENTED");
    (response as WithCall)[callOf] = call;
    response.on("close", cancelCall);
    try {
      const value = decode(pathOf(request.url).slice(prefix.length));
      const answer = await life.unary(endpoint, create(method.input, { [field]: value }), call);
      sendJson(request, response, 200, toJson(answer));
      observation.end("OK");
    } catch (error) {
      if (error === callerGone) observation.end("CANCELLED");
      else answerFailure(request, response, call, observation, error);
    }
  }

  return {
    observer,
    matches: (path) => path.startsWith(prefix) || path === withoutSlash,
    handle: (request, response, call) => void handle(request, response, call),
  };
}

const callOf = Symbol("call");

/** A response with the call that it answers, so that all of them can share a listener. */
type WithCall = HttpResponse & { [callOf]?: Call };

function cancelCall(this: WithCall): void {
  this[callOf]?.cancel(callerGone);
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
