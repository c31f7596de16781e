import { randomUUID } from "node:crypto";
import { type Kysely, sql } from "kysely";
import { parseReqId } from "../../status/req-id.ts";
import type { JobState } from "../../status/status.ts";
import { createJobLedger } from "../jobs/job-ledger.ts";
import type { Tables } from "../schema/tables.ts";

/** A live job to try the service with. */
export interface ExampleJob {
  readonly status: JobState;
  readonly reqId: string;
}

/** Inserts one job of each status, unless there are live jobs. @returns one live job of each status that there is. */
export async function ensureExampleJobs(db: Kysely<Tables>): Promise<ExampleJob[]> {
  const found = await findExampleJobs(db);
  if (found.length > 0) return found;

  const ledger = createJobLedger(db);
  const submit = async () => {
    const reqId = parseReqId(randomUUID());
    await ledger.create(reqId);
    return reqId;
  };
  await submit();
  await ledger.start(await submit());
  await ledger.succeed(await submit());
  await ledger.fail(await submit(), "Vector database timeout during embedding generation");
  return findExampleJobs(db);
}

function findExampleJobs(db: Kysely<Tables>): Promise<ExampleJob[]> {
  return db
    .selectFrom("memory_job")
    .distinctOn("status")
    .select(["status", "req_id as reqId"])
    .where("created_at", ">", sql<Date>`now() - interval '24 hours'`)
    .orderBy("status")
    .orderBy("created_at", "desc")
    .execute();
}
