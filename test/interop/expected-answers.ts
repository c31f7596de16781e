import { expect } from "vitest";

const type = (name: string) => `type.googleapis.com/google.rpc.${name}`;
const info = (reason: string) => ({ "@type": type("ErrorInfo"), reason, domain: "gomemory.status.v1" });

/** INVALID_ARGUMENT. @param message a part of it. */
function invalid(reason: string, field: string, message: string) {
  const description = expect.stringContaining(message);
  return {
    status: {
      code: 3,
      message: description,
      details: [
        info(reason),
        { "@type": type("BadRequest"), fieldViolations: [{ field, description, reason }] },
      ],
    },
  };
}

const retryInfo = (seconds: RegExp) => ({
  "@type": type("RetryInfo"),
  retryDelay: expect.stringMatching(seconds),
});

/** The contract's errors, as reported by a client that decodes their details. */
export const expected = {
  malformed: invalid("INVALID_REQ_ID", "req_id", "malformed"),
  malformedAt: (index: number) => invalid("INVALID_REQ_ID", `req_ids[${index}]`, "malformed"),
  noIds: invalid("NO_IDS", "req_ids", "req_ids"),
  tooManyIds: invalid("TOO_MANY_IDS", "req_ids", "1001"),
  invalidWait: invalid("INVALID_WAIT", "wait", "wait"),
  notFound: {
    status: {
      code: 5,
      message: expect.stringContaining("no status"),
      details: [info("STATUS_NOT_FOUND")],
    },
  },
  unavailable: {
    status: {
      code: 14,
      message: expect.any(String),
      details: [info("DATASTORE_UNAVAILABLE"), retryInfo(/^[123](\.\d+)?s$/)],
    },
  },
  goingAway: {
    status: {
      code: 14,
      message: expect.any(String),
      details: [info("GOING_AWAY"), retryInfo(/^[123](\.\d+)?s$/)],
    },
  },
  /** @param limit of held calls. */
  shedBy: (limit: string) => ({
    status: {
      code: 8,
      message: expect.any(String),
      details: [{ ...info("OVERLOADED"), metadata: { limit } }, retryInfo(/^[1-5](\.\d+)?s$/)],
    },
  }),
  cancelled: { status: { code: 1 } },
  deadlineExceeded: { status: { code: 4 } },
  tooLarge: { status: { code: 8 } },
};

/** A job of each status. */
export const jobs = [
  { status: "pending" },
  { status: "processing" },
  { status: "success" },
  { status: "failure", error: `Vector database timeout\n"during" embedding 🧠` },
] as const;
