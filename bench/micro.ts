/** `npm run bench:micro`: the pieces of an answer, each beside what it stands in for. Ratios count. */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary, toJsonString } from "@bufbuild/protobuf";
import { sql } from "kysely";
import pg from "pg";
import { Histogram as PromHistogram, Registry } from "prom-client";
import { toResponse } from "../src/endpoints/get-status.ts";
import { GetStatusRequestSchema, GetStatusResponseSchema } from "../src/gen/gomemory/status/v1/status_pb.ts";
import { getStatusCodec } from "../src/protocols/grpc/status-codec.ts";
import { statusJson } from "../src/protocols/rest/status-json.ts";
import { Call } from "../src/status/call.ts";
import { parseReqId } from "../src/status/req-id.ts";
import type { JobStatus } from "../src/status/status.ts";
import { openConnections } from "../src/store/connections/connections.ts";
import { startEmbedded } from "../src/store/embedded/embedded.ts";
import { createReader } from "../src/store/reads/reader.ts";
import { createStatusStore } from "../src/store/reads/status-store.ts";
import { migrate } from "../src/store/schema/migrate.ts";
import { Histogram } from "../src/telemetry/metrics/histogram.ts";

interface Candidate {
  readonly name: string;
  /** Does the work so many times. */
  readonly run: (times: number) => unknown;
}

const rounds = 7;
const cpuMicros = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

/** Runs all candidates in turn, several times over, and prints the median CPU time of one piece of work. */
async function compare(title: string, times: number, candidates: readonly Candidate[]): Promise<void> {
  const samples = candidates.map(() => [] as number[]);
  for (const { run } of candidates) await run(times);
  for (let round = 0; round < rounds; round++) {
    for (const [index, { run }] of candidates.entries()) {
      const before = cpuMicros();
      await run(times);
      samples[index]?.push((cpuMicros() - before) / times);
    }
  }
  const medians = samples.map((one) => one.sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? Number.NaN);
  process.stdout.write(`\n${title}\n`);
  for (const [index, { name }] of candidates.entries()) {
    const median = medians[index] ?? Number.NaN;
    const ratio = (median / (medians[0] ?? Number.NaN)).toFixed(2);
    process.stdout.write(`  ${name.padEnd(52)} ${median.toFixed(3).padStart(9)} µs ${ratio.padStart(7)} ×\n`);
  }
}

const repeat = (work: () => unknown) => (times: number) => {
  for (let i = 0; i < times; i++) work();
};

const reqId = parseReqId(randomUUID());
const status: JobStatus = { status: "success", createdAt: new Date("2026-03-03T21:44:15Z") };
const message = create(GetStatusResponseSchema, toResponse(status));
const requestBytes = Buffer.from(toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId })));

await compare("reading a request", 200_000, [
  { name: "status-codec", run: repeat(() => getStatusCodec.decode(requestBytes, 0)) },
  { name: "protobuf-es", run: repeat(() => fromBinary(GetStatusRequestSchema, requestBytes)) },
]);
await compare("parsing an id", 500_000, [{ name: "parseReqId", run: repeat(() => parseReqId(reqId)) }]);
await compare("writing a status in protobuf", 200_000, [
  { name: "status-codec", run: repeat(() => getStatusCodec.encode(toResponse(status), 5)) },
  {
    name: "protobuf-es",
    run: repeat(() => toBinary(GetStatusResponseSchema, create(GetStatusResponseSchema, toResponse(status)))),
  },
]);
await compare("writing a status in JSON", 200_000, [
  { name: "rest.ts", run: repeat(() => statusJson(toResponse(status))) },
  {
    name: "protobuf-es, from a message that is there",
    run: repeat(() => toJsonString(GetStatusResponseSchema, message)),
  },
]);

const buckets = { name: "h", help: "h", buckets: [1e-4, 1e-3, 1e-2, 1e-1, 1] };
const labels = { protocol: "rest", method: "GetStatus", code: "OK" };
const ours = new Histogram(new Registry(), buckets).series(labels);
const theirs = new PromHistogram({ ...buckets, labelNames: Object.keys(labels) as "code"[], registers: [] });
await compare("counting a call", 500_000, [
  { name: "our histogram", run: repeat(() => ours.observe(0.002)) },
  { name: "prom-client's histogram", run: repeat(() => theirs.observe(labels, 0.002)) },
]);

const directory = await mkdtemp(join(tmpdir(), "gomemory-status-micro-"));
try {
  await using postgres = await startEmbedded({ directory, settings: { fsync: "off" } });
  const options = {
    url: postgres.url,
    size: 4,
    connectTimeout: 1_000,
    onLost: () => {},
  };
  await using connections = openConnections(options);
  const { db } = connections;
  const pool = new pg.Pool({ connectionString: postgres.url, max: options.size });
  await migrate(db);
  const ids = Array.from({ length: 10_000 }, () => parseReqId(randomUUID()));
  await sql`insert into memory_job (req_id, status) select id, 'success' from unnest(${ids}::uuid[]) id`.execute(
    db,
  );

  const select = (batch: readonly string[]) =>
    db
      .selectFrom("memory_job")
      .select(["req_id", "status", "error", sql<number>`date_part('epoch', created_at)`.as("created_at")])
      .where("req_id", "=", sql<string>`any(${`{${batch.join()}}`}::uuid[])`)
      .where("created_at", ">", sql<Date>`now() - make_interval(secs => ${"86400"})`);
  const reader = createReader(connections);
  const batch = ids.slice(0, 16);
  const compiled = select(batch).compile();
  const each = (work: () => Promise<unknown>) => async (times: number) => {
    for (let i = 0; i < times; i++) await work();
  };
  await compare("a statement for 16 ids, one after the other", 1_000, [
    { name: "reader.ts", run: each(() => reader.start(compiled).rows) },
    {
      name: "pg, rows as arrays of text",
      run: each(() =>
        pool.query({
          text: compiled.sql,
          values: compiled.parameters as string[],
          rowMode: "array",
          types: { getTypeParser: () => (text: string) => text },
        }),
      ),
    },
    {
      name: "pg, rows as objects",
      run: each(() => pool.query(compiled.sql, compiled.parameters as string[])),
    },
    { name: "Kysely, compiled once", run: each(() => db.executeQuery(compiled)) },
    { name: "Kysely, built each time", run: each(() => select(batch).execute()) },
  ]);

  reader.releaseConnections();

  const ask = async (store: ReturnType<typeof createStatusStore>, times: number) => {
    for (let done = 0; done < times; done += 100) {
      const deadline = performance.now() + 10_000;
      await Promise.all(ids.slice(done, done + 100).map((id) => store.find(id, new Call(deadline))));
    }
  };
  const coalesced = createStatusStore(connections);
  const single = createStatusStore(connections, { flushAt: 1, maxInFlight: 2, maxBatch: 1 });
  await compare("reading a status, 100 callers at a time", 5_000, [
    { name: "coalesced", run: (times) => ask(coalesced, times) },
    { name: "a statement each", run: (times) => ask(single, times) },
  ]);
  await pool.end();
} finally {
  await rm(directory, { recursive: true, force: true });
}
