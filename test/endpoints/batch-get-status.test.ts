import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cutForBatch } from "../../src/endpoints/batch-error.ts";
import { batchGetStatus } from "../../src/endpoints/batch-get-status.ts";
import type { Endpoint } from "../../src/endpoints/endpoint.ts";
import { datastoreUnavailable, deadlineExceeded, overloaded } from "../../src/status/errors.ts";
import { longestError } from "../../src/status/status.ts";
import type { StatusOutcome } from "../../src/status/status-store.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  type BatchAnswer,
  type BatchItem,
  type BatchProtocol,
  batchPath,
  batchProtocols,
} from "../support/batches.ts";
import { post } from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { protocols } from "../support/protocols.ts";
import { overHttp2 } from "../support/raw-http.ts";
import { insertJob, insertPending } from "../support/rows.ts";
import { serveEndpoints } from "../support/serve.ts";
import { startShards } from "../support/shards.ts";

const unknown = randomUUID();
const grpcJs = batchProtocols.at(-1) as BatchProtocol;

/** What answers GetStatus in the same words, as an item of a batch. */
async function askOneByOne(url: string, reqIds: readonly string[]): Promise<BatchItem[]> {
  const client = protocols[0]?.open(url);
  const items: BatchItem[] = [];
  for (const id of reqIds) {
    const answer = await client?.ask(id);
    if (answer === undefined) continue;
    const reqId = id.toLowerCase();
    if ("json" in answer) items.push({ reqId, status: JSON.parse(answer.json) });
    else items.push({ reqId, error: { reason: answer.reason ?? "" } });
  }
  client?.close();
  return items;
}

describe.for(["on", "off"])("with the fast path %s", (fastPath) => {
  let database: TestDatabase;
  let app: TestApp;
  let ids: string[];

  beforeAll(async () => {
    // Only this encoding lets a row hold what cannot be decoded.
    database = await createDatabase({ encoding: "SQL_ASCII" });
    const unreadable = randomUUID();
    await database.pool.query(
      `insert into memory_job (req_id, status, error) values ('${unreadable}', 'failure', E'Z\\xfcrich')`,
    );
    const jobs = [
      { status: "pending" },
      { status: "processing" },
      { status: "success" },
      { status: "failure", error: `Vector database timeout\n"during" embedding 🧠` },
      { status: "failure", error: "" },
      { status: "success", age: 24 * 3600 + 1 },
    ] as const;
    const inserted = await Promise.all(jobs.map((job) => insertJob(database.db, job)));
    ids = [...inserted, unknown, unreadable];
    ids.push(...ids.map((id) => id.toUpperCase()));
    app = await startTestApp({ DATABASE_URL: database.url, GRPC_FAST_PATH: fastPath });
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  describe.for(batchProtocols)("$name", ({ ask, isRest }) => {
    test("each id has what GetStatus says, in the order asked, also when it is given twice", async () => {
      const expected = await askOneByOne(app.url, ids);
      expect(new Set(expected.map(({ status, error }) => status?.status ?? error?.reason))).toEqual(
        new Set(["pending", "processing", "success", "failure", "STATUS_NOT_FOUND", "STATUS_UNREADABLE"]),
      );
      expect(await ask(app.url, ids)).toEqual(expected);
    });

    test("1,000 ids", async () => {
      const many = Array.from({ length: 1_000 }, (_, index) => ids[index % ids.length] as string);
      const answer = (await ask(app.url, many)) as readonly BatchItem[];
      expect(answer.map(({ reqId }) => reqId)).toEqual(many.map((id) => id.toLowerCase()));
    });

    test.for([
      { name: "no id", of: () => [], says: { reason: "NO_IDS", field: "req_ids" } },
      {
        name: "1,001 ids",
        of: () => Array.from({ length: 1_001 }, () => unknown),
        says: { reason: "TOO_MANY_IDS", field: "req_ids" },
      },
      {
        name: "a malformed id among others",
        of: () => [unknown, "a b", unknown],
        says: { reason: "INVALID_REQ_ID", field: "req_ids[1]" },
      },
    ])("$name fails the call", async ({ of, says }) => {
      const told = isRest ? { code: 400, reason: says.reason } : { code: "INVALID_ARGUMENT", ...says };
      expect(await ask(app.url, of())).toEqual(told);
    });
  });
});

describe("errors are cut", () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createDatabase();
    app = await startTestApp({ DATABASE_URL: database.url });
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  const longest = [
    { name: "emoji", character: "😀", kept: 768 },
    { name: "control characters", character: "\u0001", kept: 666 },
  ];

  describe.for(longest)("1,000 of $name", ({ character, kept }) => {
    let ids: string[];

    beforeAll(async () => {
      ids = await insertPending(database.db, 1_000);
      const update = "update memory_job set status = 'failure', error = $2 where req_id = any($1)";
      await database.pool.query(update, [ids, character.repeat(longestError)]);
    });

    test.for(batchProtocols)("reach a client with default limits: $name", async ({ ask }) => {
      const answer = (await ask(app.url, ids)) as readonly BatchItem[];
      expect(answer).toHaveLength(ids.length);
      for (const { status, errorTruncated } of answer) {
        expect(status?.error === character.repeat(kept)).toBe(true);
        expect(errorTruncated).toBe(true);
      }
    });

    const json = (reqIds: string[]) => Buffer.from(JSON.stringify({ reqIds }));
    test.for([
      { path: batchPath, type: "application/proto", body: binaryRequest },
      { path: batchPath, type: "application/json", body: json },
      { path: "/get_status:batch", type: "application/json", body: json },
    ])("take less than 4 MiB as $type from $path", async ({ path, type, body }) => {
      const told = await overHttp2(app.url, post(path, type, body(ids)));
      expect(told.status).toBe(200);
      expect(told.body.length).toBeGreaterThan(kept * 1_000);
      expect(told.body.length).toBeLessThan(4 * 2 ** 20);
    });
  });

  test("an error that is short enough is whole, and not said to be cut", async () => {
    const error = `${"x".repeat(3_070)}ü`;
    const reqId = await insertJob(database.db, { status: "failure", error });
    const longer = await insertJob(database.db, { status: "failure", error: `${error}x` });
    const [whole, cut] = (await grpcJs.ask(app.url, [reqId, longer])) as readonly BatchItem[];
    expect([whole?.status?.error === error, whole?.errorTruncated]).toEqual([true, undefined]);
    expect([cut?.status?.error === error, cut?.errorTruncated]).toEqual([true, true]);
  });
});

function binaryRequest(reqIds: string[]): Uint8Array {
  return Buffer.concat(reqIds.map((id) => Buffer.concat([Buffer.from([0x0a, id.length]), Buffer.from(id)])));
}

test("an error is cut to as many whole characters as fit into 3,072 bytes of UTF-8, and 4,000 of JSON", () => {
  const character = fc.constantFrom("x", "ü", "€", "😀", "\u0001", "\n", '"', "\\", "u", "0");
  const run = fc.tuple(character, fc.nat(4_000)).map(([text, length]) => text.repeat(length));
  const fits = (text: string) =>
    Buffer.byteLength(text) <= 3_072 && Buffer.byteLength(JSON.stringify(text)) <= 4_002;
  fc.assert(
    fc.property(fc.array(run, { minLength: 1, maxLength: 4 }), (runs) => {
      const error = runs.join("");
      const cut = cutForBatch(error);
      expect(fits(cut)).toBe(true);
      expect(error.startsWith(cut)).toBe(true);
      const next = String.fromCodePoint(error.codePointAt(cut.length) ?? 0);
      if (cut.length < error.length) expect(fits(cut + next)).toBe(false);
    }),
    { numRuns: 500 },
  );
});

describe("a batch of which no id could be read", () => {
  const failing = (outcomes: readonly StatusOutcome[]) =>
    batchGetStatus({
      findMany: (reqIds) => Promise.resolve(new Map(reqIds.map((id, at) => [id, outcomes[at]]))),
    }) as Endpoint;
  const reqIds = Array.from({ length: 3 }, () => randomUUID());

  test.for([
    { first: datastoreUnavailable(new Error("down")), code: "UNAVAILABLE", rest: 500 },
    { first: deadlineExceeded(), code: "DEADLINE_EXCEEDED", rest: 500 },
    { first: overloaded("MAX_QUEUED"), code: "RESOURCE_EXHAUSTED", rest: 503 },
  ])("fails with the failure of its first id: $code", async ({ first, code, rest }) => {
    await using service = await serveEndpoints([
      failing([first, deadlineExceeded(), overloaded("MAX_QUEUED")]),
    ]);
    for (const { ask, isRest } of batchProtocols) {
      const { reason, limit } = first;
      const told = { code: isRest ? rest : code, reason, ...(limit !== undefined && { limit }) };
      expect(await ask(service.url, reqIds)).toEqual(told);
    }
  });

  test("is none when one was read, and had no status", async () => {
    await using service = await serveEndpoints([
      failing([deadlineExceeded(), undefined, overloaded("MAX_QUEUED")]),
    ]);
    const reasons = ["DEADLINE_EXCEEDED", "STATUS_NOT_FOUND", "OVERLOADED"];
    const items = reqIds.map((reqId, at) => ({ reqId, error: { reason: reasons[at] } }));
    for (const { ask } of batchProtocols) expect(await ask(service.url, reqIds)).toEqual(items);
  });
});

test("ids of a server that cannot be asked are DATASTORE_UNAVAILABLE, and fail the call when there are no others", async () => {
  await using shards = await startShards(2);
  const [first = [], second = []] = await shards.insertJobs(40);
  await using app = await startTestApp({ DATABASE_URL: shards.url, REQUEST_TIMEOUT: "20s" });
  const ask = (ids: readonly string[]): Promise<BatchAnswer> => grpcJs.ask(app.url, ids);
  shards.servers[0]?.cut();
  const answer = (await ask([...first, ...second])) as readonly BatchItem[];
  expect(answer.map(({ status, error }) => status?.status ?? error?.reason)).toEqual([
    ...first.map(() => "DATASTORE_UNAVAILABLE"),
    ...second.map(() => "success"),
  ]);
  expect(await ask(first)).toEqual({ code: "UNAVAILABLE", reason: "DATASTORE_UNAVAILABLE" });
});

test("a batch heavier than MAX_IN_FLIGHT is answered when it is the only one, and another is shed meanwhile", async () => {
  await using database = await createDatabase();
  await using app = await startTestApp({ DATABASE_URL: database.url, MAX_IN_FLIGHT: "2" });
  const ids = await insertPending(database.db, 1_000);
  await using lock = await lockTable(database);
  const first = grpcJs.ask(app.url, ids);
  await lock.blocksCalls(1);
  expect(await grpcJs.ask(app.url, ids.slice(0, 1))).toEqual({
    code: "RESOURCE_EXHAUSTED",
    reason: "OVERLOADED",
    limit: "MAX_IN_FLIGHT",
  });
  const lookup = fetch(`${app.url}/get_status/${ids[0]}`);
  await lock[Symbol.asyncDispose]();
  expect(await first).toHaveLength(ids.length);
  expect((await lookup).status).toBe(200);
  await (await lookup).body?.cancel();
});
