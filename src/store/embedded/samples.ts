import { randomUUID } from "node:crypto";
import { type Kysely, sql } from "kysely";
import { parseReqId } from "../../status/req-id.ts";
import type { JobState } from "../../status/status.ts";
import { createJobLedger } from "../jobs/job-ledger.ts";
import type { Tables } from "../schema/tables.ts";

/** A live job to try the service with. */
export interface Sample {
  readonly status: JobState;
  readonly reqId: string;
}

/** Puts in one job of each status, unless there are live jobs. @returns one live job of each status that there is. */
export async function provideSamples(db: Kysely<Tables>): Promise<Sample[]> {
  const found = await findSamples(db);
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
  return findSamples(db);
}

function findSamples(db: Kysely<Tables>): Promise<Sample[]> {
  return db
    .selectFrom("memory_job")
    .distinctOn("status")
    .select(["status", "req_id as reqId"])
    .where("created_at", ">", sql<Date>`now() - interval '24 hours'`)
    .orderBy("status")
    .orderBy("created_at", "desc")
    .execute();
}
