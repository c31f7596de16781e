import type { Code } from "@connectrpc/connect";
import { challenge, takeRetryAfter, wireErrors } from "../../endpoints/errors.ts";
import { endWithFailure } from "../../endpoints/failure.ts";
import type { Call } from "../../status/call.ts";
import { StatusError } from "../../status/errors.ts";
import type { Observation } from "../../status/observation.ts";
import { requestIdHeader } from "../begin-call.ts";
import { errorBodies } from "../error-bodies.ts";
import { type HttpRequest, type HttpResponse, sendJson } from "../http.ts";

/** Ends a call that failed, and answers it as the contract documents for REST. */
export function answerFailure(
  request: HttpRequest,
  response: HttpResponse,
  call: Call,
  observation: Observation,
  reason: unknown,
): Code {
  // A fault of the service gets a request id, which the answer has to name.
  const code = endWithFailure(observation, call, reason);
  sendFailure(request, response, call, reason);
  return code;
}

/** Answers a call that failed. What is not of the closed list is a 500 without a word about it. */
function sendFailure(request: HttpRequest, response: HttpResponse, call: Call, error: unknown): void {
  const { reason, limit } = error instanceof StatusError ? error : {};
  const http = reason === undefined ? 500 : wireErrors[reason].http;
  const headers = {
    "Error-Reason": reason ?? "INTERNAL",
    ...(limit !== undefined && { "Error-Limit": limit }),
    ...(http === 503 && { "Retry-After": takeRetryAfter(limit) }),
    ...(http === 401 && challenge),
    ...(call.requestId !== undefined && { [requestIdHeader]: call.requestId }),
  };
  sendJson(request, response, http, errorBodies[http], headers);
}
