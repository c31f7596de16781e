/** The direct query: node:http and pg, one statement a request. Shows what coalesced reads add to the latency of a call. */
import { createServer } from "node:http";
import pg from "pg";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const route = "/get_status/";
const failed = "We are experiencing some techincal issues right now. Please try again after some time!";
/** Its name makes pg prepare it once a connection. */
const query = {
  name: "get-status",
  text: `select status, error, created_at from memory_job
         where req_id = $1 and created_at > now() - interval '24 hours'`,
};
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

async function getStatus(path: string): Promise<{ code: number; body: object }> {
  const id = path.startsWith(route) ? path.slice(route.length) : "";
  if (!uuid.test(id)) return { code: 400, body: { Error: "Bad Request" } };
  const { rows } = await pool.query<{ status: string; error: string | null; created_at: Date }>({
    ...query,
    values: [id],
  });
  const job = rows[0];
  if (!job) return { code: 500, body: { Error: failed } };
  const createdAt = job.created_at.toISOString().replace(".000Z", "Z");
  return {
    code: 200,
    body: { status: job.status, createdAt, ...(job.error !== null && { error: job.error }) },
  };
}

const server = createServer(async (request, response) => {
  const { code, body } = await getStatus(request.url ?? "").catch(() => ({
    code: 500,
    body: { Error: failed },
  }));
  const text = JSON.stringify(body);
  response.writeHead(code, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(text),
  });
  response.end(text);
});
server.listen(Number(process.env.PORT), "127.0.0.1");
