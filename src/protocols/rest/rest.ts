import { randomUUID } from "node:crypto";
import { getOption } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { challenge, isOurFault, takeRetryAfter, wireErrors } from "../../endpoints/errors.ts";
import { getStatusMethod } from "../../endpoints/get-status.ts";
import { codeName, type Observe } from "../../endpoints/observer.ts";
import { StatusService } from "../../gen/gomemory/status/v1/status_pb.ts";
import { http } from "../../gen/google/api/annotations_pb.ts";
import { Call } from "../../status/call.ts";
import { StatusError } from "../../status/errors.ts";
import type { StatusService as Statuses } from "../../status/service.ts";
import type { JobStatus } from "../../status/status.ts";
import { type CallInfo, requestIdHeader } from "../call-info.ts";
import {
  errorBody,
  type HttpRequest,
  type HttpResponse,
  pathOf,
  refuseOtherMethods,
  sendJson,
} from "../http.ts";

const technicalIssues =
  "We are experiencing some techincal issues right now. Please try again after some time!";

/** What the published contract says, to the letter. */
const errorBodies = {
  400: errorBody(400, "Bad Request"),
  401: errorBody(401, "Unauthorized"),
  500: errorBody(500, technicalIssues),
  503: errorBody(503, technicalIssues),
};

/** GET /get_status/{req_id}, as the contract's `google.api.http` option spells it. */
export interface Rest {
  /** Whether a path, without its query, belongs to this route: with an id, without one, or with a malformed one. */
  matches(path: string): boolean;
  /** Answers a caller that may ask. */
  handle(request: HttpRequest, response: HttpResponse, info: CallInfo): void;
}

/**
 * @param requestTimeout the longest that a call may take, in milliseconds.
 * @throws Error when the contract's path is not a fixed text followed by the id.
 */
export function createRest(statuses: Statuses, requestTimeout: number, observe: Observe): Rest {
  const observer = observe("rest", getStatusMethod);
  const prefix = readPrefix();
  const withoutSlash = prefix.slice(0, -1);

  async function handle(request: HttpRequest, response: HttpResponse, info: CallInfo): Promise<void> {
    const observation = observer.start(info);
    if (refuseOtherMethods(request, response)) return observation.end("UNIMPLEMENTED");
    const call = new Call(performance.now() + requestTimeout);
    (response as WithCall)[callOf] = call;
    response.on("close", cancelCall);
    try {
      info.asked = decodeId(pathOf(request.url).slice(prefix.length));
      const status = await statuses.getStatus(info.asked, call);
      sendJson(request, response, 200, toJson(status));
      observation.end("OK");
    } catch (error) {
      if (error === gone) return observation.end("CANCELLED");
      const code = sendFailure(request, response, info, error);
      observation.end(codeName(code), isOurFault(code) ? error : undefined);
    }
  }

  return {
    matches: (path) => path.startsWith(prefix) || path === withoutSlash,
    handle: (request, response, info) => void handle(request, response, info),
  };
}

const callOf = Symbol("call");

/** A response with the call that it answers, so that all of them can share a listener. */
type WithCall = HttpResponse & { [callOf]?: Call };

function cancelCall(this: WithCall): void {
  this[callOf]?.cancel(gone);
}

/** Why a call is cancelled whose caller closed the connection: there is nobody to answer. */
const gone = new Error("the caller closed the connection");

/** Tells the caller why there is no answer. A fault of ours gets a request id if it has none. @returns its code. */
export function sendFailure(
  request: HttpRequest,
  response: HttpResponse,
  info: CallInfo,
  error: unknown,
): Code {
  const { reason, limit } = error instanceof StatusError ? error : {};
  const wire = reason === undefined ? ({ code: Code.Internal, http: 500 } as const) : wireErrors[reason];
  if (isOurFault(wire.code)) info.requestId ??= randomUUID();
  const headers = {
    "Error-Reason": reason ?? "INTERNAL",
    ...(limit !== undefined && { "Error-Limit": limit }),
    ...(wire.http === 503 && { "Retry-After": takeRetryAfter() }),
    ...(wire.http === 401 && challenge),
    ...(info.requestId !== undefined && { [requestIdHeader]: info.requestId }),
  };
  sendJson(request, response, wire.http, errorBodies[wire.http], headers);
  return wire.code;
}

/** What is not percent-encoded text is no id either, and is refused as such. */
function decodeId(encoded: string): string {
  if (!encoded.includes("%")) return encoded;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

const secondsADay = 86_400;
/** 0 to 59, in two digits. */
const twoDigits = Array.from({ length: 60 }, (_, number) => String(number).padStart(2, "0"));
let lastDay = Number.NaN;
let lastDate = "";

/** RFC 3339, UTC, whole seconds. Statuses live for a day, so that the date is nearly always the last one's. */
function toTimestamp(time: Date): string {
  const seconds = Math.floor(time.getTime() / 1000);
  const day = Math.floor(seconds / secondsADay);
  if (day !== lastDay) {
    lastDay = day;
    lastDate = time.toISOString().slice(0, "2026-03-03T".length);
  }
  const ofDay = seconds - day * secondsADay;
  const hours = twoDigits[Math.floor(ofDay / 3600)];
  const minutes = twoDigits[Math.floor(ofDay / 60) % 60];
  return `${lastDate}${hours}:${minutes}:${twoDigits[ofDay % 60]}Z`;
}

/** The canonical JSON of the status' protobuf message, byte for byte, without making the message. */
export function toJson({ status, createdAt, error }: JobStatus): string {
  const fixed = `{"status":"${status}","createdAt":"${toTimestamp(createdAt)}"`;
  return error === undefined ? `${fixed}}` : `${fixed},"error":${JSON.stringify(error)}}`;
}

function readPrefix(): string {
  const { pattern } = getOption(StatusService.method.getStatus, http);
  const [, prefix] = /^(\/[\w/]+\/)\{req_id\}$/.exec(pattern.case === "get" ? pattern.value : "") ?? [];
  if (prefix === undefined)
    throw new Error(`${getStatusMethod} needs a google.api.http path that ends with /{req_id}`);
  return prefix;
}
