/** @connectrpc/connect-node with generated code, and Kysely on pg. */
import { createServer } from "node:http2";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { GetStatusResponse_Status, StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";

interface Tables {
  memory_job: {
    req_id: string;
    status: "pending" | "processing" | "success" | "failure";
    error: string | null;
    created_at: Date;
  };
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Kysely gives its statements no names, so the client does: pg prepares a named one once a connection. */
class PreparingClient extends pg.Client {
  override query = ((text: string, values?: unknown[]) =>
    super.query(values === undefined ? text : { name: nameOf(text), text, values })) as pg.Client["query"];
}

const names = new Map<string, string>();
function nameOf(text: string): string {
  let name = names.get(text);
  if (name === undefined) {
    name = `statement-${names.size}`;
    names.set(text, name);
  }
  return name;
}

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10, Client: PreparingClient });
const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });

const handler = connectNodeAdapter({
  routes: (router) =>
    router.service(StatusService, {
      async getStatus({ reqId }) {
        if (!uuid.test(reqId)) throw new ConnectError("req_id is not a UUID", Code.InvalidArgument);
        const job = await db
          .selectFrom("memory_job")
          .select(["status", "error", "created_at"])
          .where("req_id", "=", reqId)
          .where("created_at", ">", sql<Date>`now() - interval '24 hours'`)
          .executeTakeFirst();
        if (!job) throw new ConnectError("no such request", Code.NotFound);
        return {
          status: GetStatusResponse_Status[job.status],
          createdAt: timestampFromDate(job.created_at),
          ...(job.error !== null && { error: job.error }),
        };
      },
    }),
});

createServer(handler).listen(Number(process.env.PORT), "127.0.0.1");
