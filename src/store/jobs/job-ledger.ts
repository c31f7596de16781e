import { type Kysely, sql } from "kysely";
import pg from "pg";
import type { ReqId } from "../../status/req-id.ts";
import type { Tables } from "../schema/tables.ts";

type JobLedgerErrorReason = "JOB_NOT_FOUND" | "IMPOSSIBLE_MOVE";

/** A producer's mistake. */
class JobLedgerError extends Error {
  override readonly name = "JobLedgerError";
  readonly reason: JobLedgerErrorReason;

  constructor(reason: JobLedgerErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/** What a producer of statuses does. The database itself enforces the rules, for producers in any language. */
export interface JobLedger {
  /**
   * Submits a job: `pending`, from now.
   *
   * @returns false when a live job has this id and did not fail. It is a duplicate, and nothing was changed.
   */
  create(reqId: ReqId): Promise<boolean>;
  /** A worker begins, or begins again. @throws JobLedgerError */
  start(reqId: ReqId): Promise<void>;
  /** The job is done, for good. @throws JobLedgerError */
  succeed(reqId: ReqId): Promise<void>;
  /**
   * The job has failed. It may be submitted again.
   *
   * @param error for people to read. What PostgreSQL cannot store, NUL and lone surrogates, becomes U+FFFD. The database keeps
   *   the first 16,384 characters (code points).
   * @throws JobLedgerError
   */
  fail(reqId: ReqId, error: string): Promise<void>;
}

export function createJobLedger(db: Kysely<Tables>): JobLedger {
  const job = db.updateTable("memory_job");

  async function move(reqId: ReqId, update: Promise<{ numUpdatedRows: bigint }>): Promise<void> {
    const { numUpdatedRows } = await update.catch((cause: unknown) => {
      if (!isRefusedByGuard(cause)) throw cause;
      throw new JobLedgerError("IMPOSSIBLE_MOVE", cause.message, { cause });
    });
    if (numUpdatedRows === 0n) throw new JobLedgerError("JOB_NOT_FOUND", `no job ${reqId}`);
  }

  return {
    async create(reqId) {
      const { numInsertedOrUpdatedRows } = await db
        .insertInto("memory_job")
        .values({ req_id: reqId, status: "pending", error: null })
        // By what is inserted and not by now(): distributed engines take no function here that is not immutable.
        .onConflict((conflict) =>
          conflict
            .column("req_id")
            .doUpdateSet({ status: "pending", error: null })
            .where((where) =>
              where.or([
                where("memory_job.status", "=", "failure"),
                sql<boolean>`excluded.created_at - memory_job.created_at >= interval '24 hours'`,
              ]),
            ),
        )
        .executeTakeFirst();
      return numInsertedOrUpdatedRows === 1n;
    },
    start: (reqId) =>
      move(reqId, job.set({ status: "processing" }).where("req_id", "=", reqId).executeTakeFirst()),
    succeed: (reqId) =>
      move(reqId, job.set({ status: "success" }).where("req_id", "=", reqId).executeTakeFirst()),
    fail: (reqId, error) =>
      move(
        reqId,
        job
          .set({ status: "failure", error: error.toWellFormed().replaceAll("\0", "\uFFFD") })
          .where("req_id", "=", reqId)
          .executeTakeFirst(),
      ),
  };
}

function isRefusedByGuard(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError && error.constraint === "memory_job_guard";
}
