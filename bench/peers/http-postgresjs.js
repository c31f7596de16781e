/** node:http and postgres.js, which prepares each statement once a connection by default. */
import { createServer } from "node:http";
import postgres from "postgres";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const route = "/get_status/";
const failed = "We are experiencing some techincal issues right now. Please try again after some time!";
const sql = postgres(process.env.DATABASE_URL, { max: 10 });

async function getStatus(path) {
  const id = path.startsWith(route) ? path.slice(route.length) : "";
  if (!uuid.test(id)) return [400, { Error: "Bad Request" }];
  const [job] = await sql`
    select status, error, created_at from memory_job
    where req_id = ${id} and created_at > now() - interval '24 hours'`;
  if (!job) return [500, { Error: failed }];
  const createdAt = job.created_at.toISOString().replace(".000Z", "Z");
  return [200, { status: job.status, createdAt, ...(job.error !== null && { error: job.error }) }];
}

const server = createServer(async (request, response) => {
  const [code, body] = await getStatus(request.url).catch(() => [500, { Error: failed }]);
  const text = JSON.stringify(body);
  response.writeHead(code, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(text),
  });
  response.end(text);
});
server.listen(Number(process.env.PORT), "127.0.0.1");
