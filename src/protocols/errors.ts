import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { StatusService } from "../gen/gomemory/status/v1/status_pb.ts";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { limits, overloaded, type StatusError, type StatusErrorReason } from "../status/status.ts";

/** How one reason goes over the wire. The contract's table, and the only place where it stands. */
interface WireError {
  readonly code: Code;
  readonly http: 400 | 401 | 500 | 503;
  /** How long a caller should wait before it tries again, in milliseconds. Absent: do not retry. */
  readonly retryAfter?: number;
}

export const wireErrors = {
  INVALID_REQ_ID: { code: Code.InvalidArgument, http: 400 },
  STATUS_NOT_FOUND: { code: Code.NotFound, http: 500 },
  DATASTORE_UNAVAILABLE: { code: Code.Unavailable, http: 500, retryAfter: 1_000 },
  DEADLINE_EXCEEDED: { code: Code.DeadlineExceeded, http: 500 },
  OVERLOADED: { code: Code.ResourceExhausted, http: 503, retryAfter: 1_000 },
  STATUS_UNREADABLE: { code: Code.DataLoss, http: 500 },
  UNAUTHENTICATED: { code: Code.Unauthenticated, http: 401 },
  GOING_AWAY: { code: Code.Unavailable, http: 503, retryAfter: 1_000 },
} as const satisfies Record<StatusErrorReason, WireError>;

/** What an answer with HTTP status 401 must have, over Connect and over REST (RFC 9110, section 15.5.2). */
export const challenge = { "WWW-Authenticate": "Bearer" };

/** `google.rpc.ErrorInfo.domain`: whose reasons these are (AIP-193). */
const errorDomain = StatusService.file.proto.package;

/** The error as gRPC, gRPC-Web and Connect send it, with the details of `google.rpc` that the contract names. */
export function toConnectError(error: StatusError): ConnectError {
  return prepared.get(error) ?? withDetails(error);
}

/** What is told to calls that are shed. */
const prepared = new Map(limits.map(overloaded).map((error) => [error, withDetails(error)]));

function withDetails(error: StatusError): ConnectError {
  const { code, http, retryAfter }: WireError = wireErrors[error.reason];
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
  if (error.reason === "INVALID_REQ_ID") {
    const violation = { field: "req_id", description: error.message, reason: error.reason };
    wire.details.push({
      desc: BadRequestSchema,
      value: create(BadRequestSchema, { fieldViolations: [violation] }),
    });
  }
  if (retryAfter !== undefined) {
    wire.details.push({
      desc: RetryInfoSchema,
      value: create(RetryInfoSchema, { retryDelay: durationFromMs(retryAfter) }),
    });
  }
  return wire;
}

/** Whether it is for us to find out what went wrong, and not for the caller. */
export function isOurFault(code: Code): boolean {
  return (
    code === Code.Unavailable || code === Code.Internal || code === Code.Unknown || code === Code.DataLoss
  );
}
