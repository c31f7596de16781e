/** Fastify with its schemas (ajv validates the id, fast-json-stringify serializes the answer), and pg. */
import Fastify from "fastify";
import pg from "pg";

const failed = "We are experiencing some techincal issues right now. Please try again after some time!";
/** Its name makes pg prepare it once a connection. */
const query = {
  name: "get-status",
  text: `select status, error, created_at from memory_job
         where req_id = $1 and created_at > now() - interval '24 hours'`,
};
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const app = Fastify();

app.setErrorHandler((error, _request, reply) =>
  error.validation ? reply.code(400).send({ Error: "Bad Request" }) : reply.code(500).send({ Error: failed }),
);

const schema = {
  params: {
    type: "object",
    properties: { reqid: { type: "string", format: "uuid" } },
    required: ["reqid"],
  },
  response: {
    200: {
      type: "object",
      properties: {
        status: { type: "string" },
        createdAt: { type: "string" },
        error: { type: "string" },
      },
      required: ["status", "createdAt"],
    },
  },
};

app.get("/get_status/:reqid", { schema }, async (request, reply) => {
  const { rows } = await pool.query({ ...query, values: [request.params.reqid] });
  const job = rows[0];
  if (!job) return reply.code(500).send({ Error: failed });
  const createdAt = job.created_at.toISOString().replace(".000Z", "Z");
  return job.error === null
    ? { status: job.status, createdAt }
    : { status: job.status, createdAt, error: job.error };
});

await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
