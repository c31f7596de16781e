import { expect } from "vitest";

const type = (name: string) => `type.googleapis.com/google.rpc.${name}`;
const info = (reason: string) => ({ "@type": type("ErrorInfo"), reason, domain: "gomemory.status.v1" });

/** The contract's errors, as reported by a client that decodes their details. */
export const expected = {
  malformed: {
    status: {
      code: 3,
      message: expect.stringContaining("malformed"),
      details: [
        info("INVALID_REQ_ID"),
        {
          "@type": type("BadRequest"),
          fieldViolations: [
            { field: "req_id", description: expect.stringContaining("malformed"), reason: "INVALID_REQ_ID" },
          ],
        },
      ],
    },
  },
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
      details: [
        info("DATASTORE_UNAVAILABLE"),
        { "@type": type("RetryInfo"), retryDelay: expect.stringMatching(/^[123](\.\d+)?s$/) },
      ],
    },
  },
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
