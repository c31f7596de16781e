import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { type Call, CallerGone } from "../status/call.ts";
import { StatusError } from "../status/errors.ts";
import type { Observation } from "../status/observation.ts";
import { codeName } from "./codes.ts";
import { wireErrors } from "./errors.ts";

/** The gRPC status code of whatever a call fails with. */
function codeOf(reason: unknown): Code {
  if (reason instanceof StatusError) return wireErrors[reason.reason].code;
  if (reason instanceof ConnectError) return reason.code;
  return reason instanceof CallerGone ? Code.Canceled : Code.Internal;
}

/** Ends the observation of a call that failed. A fault of the service gets a request id, unless the call has one. @returns the code. */
export function endWithFailure(observation: Observation, call: Call, reason: unknown): Code {
  const code = codeOf(reason);
  if (isFault(reason, code)) {
    call.requestId ??= randomUUID();
    observation.end(codeName(code), reason);
  } else {
    observation.end(codeName(code));
  }
  return code;
}

const faults: ReadonlySet<Code> = new Set([Code.Unavailable, Code.Internal, Code.Unknown, Code.DataLoss]);

/** Whether it is for the operator to find out what went wrong, and not for the caller. */
function isFault(reason: unknown, code: Code): boolean {
  // Connect's own errors are about what the caller sent, whatever their code.
  if (reason instanceof ConnectError) return false;
  return faults.has(code) && !(reason instanceof StatusError && reason.reason === "GOING_AWAY");
}
