import { fromJsonString, getOption, type Message } from "@bufbuild/protobuf";
import { fullName, type UnaryEndpoint } from "../../endpoints/endpoint.ts";
import { http } from "../../gen/google/api/annotations_pb.ts";
import { type Call, callerGone } from "../../status/call.ts";
import { type HttpRequest, type HttpResponse, refuseOtherMethods, sendError, sendJson } from "../http.ts";
import { cancelWhenClosed } from "./cancellation.ts";
import { answerFailure } from "./failure.ts";
import { isPlainJson, readBody } from "./json-body.ts";
import type { RestOptions, RestRoute } from "./route.ts";
import { writerOf } from "./writers.ts";

const allowed = ["POST"];

/** @returns the route of a `post` whose body is the request. */
export function createPostRoute(
  endpoint: UnaryEndpoint,
  { life, observe, maxMessageSize, receive }: RestOptions,
): RestRoute {
  const { method } = endpoint;
  const observer = observe("rest", fullName(endpoint));
  const ownPath = readPath(endpoint);
  const { toJson } = writerOf(method);

  async function handle(request: HttpRequest, response: HttpResponse, call: Call): Promise<void> {
    const observation = observer.start(call);
    const refuse = (status: number, code: string, headers?: Readonly<Record<string, string>>) => {
      sendError(request, response, status, headers);
      observation.end(code);
    };
    if (refuseOtherMethods(request, response, allowed)) return observation.end("UNIMPLEMENTED");
    if (!isPlainJson(request)) return refuse(415, "INVALID_ARGUMENT", { "Accept-Post": "application/json" });
    cancelWhenClosed(response, call);
    receive(request, response, (shed) => shed);
    try {
      const body = await readBody(request, maxMessageSize);
      if (call.cancelled) throw call.reason;
      if (body === undefined) return refuse(413, "RESOURCE_EXHAUSTED");
      const message = parse(body);
      if (message === undefined) return refuse(400, "INVALID_ARGUMENT");
      const answer = await life.unary(endpoint, message, call);
      sendJson(request, response, 200, toJson(answer));
      observation.end("OK");
    } catch (error) {
      // A request that breaks off has an error of its own.
      if (call.reason === callerGone) observation.end("CANCELLED");
      else answerFailure(request, response, call, observation, error);
    }
  }

  /** Reads JSON as Connect's adapter does: a field that is unknown is ignored. @returns undefined when it is not of the message. */
  function parse(body: Uint8Array): Message | undefined {
    try {
      return fromJsonString(method.input, new TextDecoder().decode(body), { ignoreUnknownFields: true });
    } catch {
      return undefined;
    }
  }

  return {
    observer,
    matches: (path) => path === ownPath,
    handle: (request, response, call) => void handle(request, response, call),
  };
}

function readPath(endpoint: UnaryEndpoint): string {
  const { pattern, body } = getOption(endpoint.method, http);
  if (pattern.case === "post" && body === "*" && /^\/[\w/:]+$/.test(pattern.value)) return pattern.value;
  throw new Error(`${fullName(endpoint)} needs a google.api.http path without fields, and the body "*"`);
}
