import { create } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { StatusService } from "../gen/gomemory/status/v1/status_pb.ts";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { CallerGone, callerGone } from "../status/call.ts";
import {
  goingAway,
  holdLimits,
  type Limit,
  limits,
  overloaded,
  StatusError,
  type StatusErrorReason,
} from "../status/errors.ts";

/** How one reason goes over the wire. The contract's table, and the only place where it stands. */
interface WireError {
  readonly code: Code;
  readonly http: 400 | 401 | 500 | 503;
  /** Whether the caller should try again. Absent: trying again is of no use, or the caller's choice. */
  readonly isRetryable?: true;
}

export const wireErrors = {
  INVALID_REQ_ID: { code: Code.InvalidArgument, http: 400 },
  INVALID_WAIT: { code: Code.InvalidArgument, http: 400 },
  NO_IDS: { code: Code.InvalidArgument, http: 400 },
  TOO_MANY_IDS: { code: Code.InvalidArgument, http: 400 },
  STATUS_NOT_FOUND: { code: Code.NotFound, http: 500 },
  DATASTORE_UNAVAILABLE: { code: Code.Unavailable, http: 500, isRetryable: true },
  DEADLINE_EXCEEDED: { code: Code.DeadlineExceeded, http: 500 },
  OVERLOADED: { code: Code.ResourceExhausted, http: 503, isRetryable: true },
  STATUS_UNREADABLE: { code: Code.DataLoss, http: 500 },
  UNAUTHENTICATED: { code: Code.Unauthenticated, http: 401 },
  GOING_AWAY: { code: Code.Unavailable, http: 503, isRetryable: true },
  SLOW_CONSUMER: { code: Code.ResourceExhausted, http: 503, isRetryable: true },
} as const satisfies Record<StatusErrorReason, WireError>;

/** What an answer with HTTP status 401 must have, over Connect and over REST (RFC 9110, section 15.5.2). */
export const challenge = { "WWW-Authenticate": "Bearer" };

/** `google.rpc.ErrorInfo.domain`: whose reasons these are (AIP-193). */
const errorDomain = StatusService.file.proto.package;

/** How many different delays there are. */
const delays = 16;

/**
 * The delays before a retry that callers are asked for, in milliseconds, in turn: from 1 to 3 s, and to 5 s for held calls, which
 * make room less often. Callers that are refused together would otherwise come back together, and be refused again.
 */
function retryDelaysOf({ limit, reason }: StatusError): number[] {
  const isLonger = reason === "OVERLOADED" && isHoldLimit(limit);
  return Array.from({ length: delays }, (_, step) => 1_000 + step * (isLonger ? 250 : 125));
}

function isHoldLimit(limit: Limit | undefined): boolean {
  return (holdLimits as readonly (Limit | undefined)[]).includes(limit);
}

let nextDelay = 0;

/** @returns the place of one of {@link retryDelaysOf}. */
function takeDelay(): number {
  const taken = nextDelay;
  nextDelay = (taken + 1) % delays;
  return taken;
}

/**
 * Whatever a call fails with, as gRPC, gRPC-Web and Connect send it: a StatusError with the details of `google.rpc` that the
 * contract names. What is unknown becomes INTERNAL without its text, which may hold what no caller should see.
 */
export function toConnectError(reason: unknown): ConnectError {
  if (reason instanceof ConnectError) return reason;
  if (reason instanceof StatusError) return toDetailedError(reason);
  if (reason instanceof CallerGone) return cancelled;
  return new ConnectError("internal error", Code.Internal, undefined, undefined, reason);
}

const cancelled = new ConnectError(callerGone.message, Code.Canceled, undefined, undefined, callerGone);

function toDetailedError(error: StatusError): ConnectError {
  const variants = prepared.get(error);
  if (variants !== undefined) return variants[takeDelay()] as ConnectError;
  const { isRetryable }: WireError = wireErrors[error.reason];
  return withDetails(error, isRetryable && retryDelaysOf(error)[takeDelay()]);
}

/**
 * The errors of calls that are shed, and of those that end together, with each delay. Made once: both must cost next to
 * nothing.
 */
const prepared = new Map(
  [...limits.map(overloaded), goingAway].map((error) => [
    error,
    retryDelaysOf(error).map((delay) => withDetails(error, delay)),
  ]),
);

/** The errors that {@link toConnectError} does not make anew for each call. */
export const preparedErrors: readonly ConnectError[] = [...prepared.values()].flat();

/** gRFC A6, "Pushback". */
export const pushbackHeader = "grpc-retry-pushback-ms";

let nextSecond = 0;

/** @returns the value of `Retry-After` (RFC 9110, section 10.2.3): 1 to 3 seconds, or to 5 for held calls, in turn. */
export function takeRetryAfter(limit: Limit | undefined): string {
  nextSecond = (nextSecond % (isHoldLimit(limit) ? 5 : 3)) + 1;
  return String(nextSecond);
}

/**
 * When gRPC clients are to try again (gRFC A6, "Pushback"): they heed it when their service config has them
 * retry the code.
 *
 * @returns the value of `grpc-retry-pushback-ms`: the delay of `RetryInfo` for a call that was shed, and -1 (do not retry)
 *   for what else is RESOURCE_EXHAUSTED, such as a message that is too large. Undefined: the client decides.
 */
export function pushbackOf(error: ConnectError): string | undefined {
  if (error.code !== Code.ResourceExhausted) return undefined;
  const [retry] = error.findDetails(RetryInfoSchema);
  return retry?.retryDelay === undefined ? "-1" : String(durationMs(retry.retryDelay));
}

/** @param retryDelay in milliseconds. Undefined: nothing is said about trying again. */
function withDetails(error: StatusError, retryDelay: number | undefined): ConnectError {
  const { code, http }: WireError = wireErrors[error.reason];
  const metadata = http === 401 ? challenge : undefined;
  const wire = new ConnectError(error.message, code, metadata, undefined, error);
  wire.details.push({
    desc: ErrorInfoSchema,
    value: create(ErrorInfoSchema, {
      reason: error.reason,
      domain: errorDomain,
      ...(error.limit !== undefined && { metadata: { limit: error.limit } }),
    }),
  });
  if (error.field !== undefined) {
    const violation = { field: error.field, description: error.message, reason: error.reason };
    wire.details.push({
      desc: BadRequestSchema,
      value: create(BadRequestSchema, { fieldViolations: [violation] }),
    });
  }
  if (retryDelay !== undefined) {
    wire.details.push({
      desc: RetryInfoSchema,
      value: create(RetryInfoSchema, { retryDelay: durationFromMs(retryDelay) }),
    });
  }
  return wire;
}
