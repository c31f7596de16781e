import { create, toBinary } from "@bufbuild/protobuf";
import type pg from "pg";
import {
  GetStatusResponse_Status,
  GetStatusResponseSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { idOf } from "../rows.ts";

/** Requests that were submitted together and are `pending`: consecutive rows of the benchmark's numbering. */
export interface Jobs {
  readonly first: number;
  readonly count: number;
  /** In seconds since 1970. */
  readonly createdAt: number;
}

/** Inserts requests that were submitted some time ago. @param age in seconds. */
export async function insertJobs(
  database: pg.Client,
  { first, count, age }: { first: number; count: number; age: number },
): Promise<Jobs> {
  const ids = Array.from({ length: count }, (_, index) => idOf(first + index));
  const { rows } = await database.query<{ created_at: number }>(
    `with inserted as (
       insert into memory_job (req_id, status, created_at)
       select id, 'pending', date_trunc('second', now()) - make_interval(secs => $2) from unnest($1::uuid[]) as id
       returning created_at
     )
     select extract(epoch from max(created_at))::float8 as created_at from inserted`,
    [ids, age],
  );
  return { first, count, createdAt: rows[0]?.created_at ?? 0 };
}

/** The one answer to every plain call for these requests, as the load generator takes a constant answer. */
export function constantAnswer({ createdAt }: Jobs, protocol: "rest" | "grpc"): string {
  const time = new Date(createdAt * 1000).toISOString().replace(".000Z", "Z");
  if (protocol === "rest") {
    return Buffer.from(JSON.stringify({ status: "pending", createdAt: time })).toString("hex");
  }
  const status = GetStatusResponse_Status.pending;
  const response = create(GetStatusResponseSchema, {
    status,
    createdAt: { seconds: BigInt(createdAt), nanos: 0 },
  });
  const message = toBinary(GetStatusResponseSchema, response);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]).toString("hex");
}
