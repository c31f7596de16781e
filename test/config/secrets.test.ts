import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { lockTable } from "../support/lock.ts";
import { type Client, protocols } from "../support/protocols.ts";
import { startProxy } from "../support/proxy.ts";
import { overHttp1 } from "../support/raw-http.ts";
import { createLogin, type Login } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";

// No failure puts a secret into the log or into an answer. The secrets:
const token = "secret-token";
const unknownToken = "secret-unknown-token";
const row = "secret-row\nsecret-second-line";
const secrets = /secret|select |from memory_job|::uuid|127\.0\.0\.1:\d+\/test_/i;

let folder: Folder;
let tokens: string;
let database: TestDatabase;
let reader: Login;
let reqId: string;

beforeAll(async () => {
  folder = await createFolder();
  const digest = createHash("sha256").update(token).digest("hex");
  tokens = await folder.write("tokens", `alice:${digest}\n`);
  database = await createDatabase();
  reader = await createLogin(database, "gomemory_reader");
  reqId = await insertJob(database.db, { status: "failure", error: row });
});

afterAll(async () => {
  await reader[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

interface Fault {
  readonly name: string;
  /** The code of the answer over RPC, as a regular expression. */
  readonly code: string;
  /** Makes it go wrong, until it is disposed of. */
  readonly make?: () => Promise<AsyncDisposable>;
  /** Whom the database takes the service for. */
  readonly as?: (url: URL) => void;
  readonly bearer?: string;
  readonly asksFor?: string;
  readonly behindProxy?: true;
}

/** Changes the schema for a while. */
function withSchema(change: string, back: string): () => Promise<AsyncDisposable> {
  return async () => {
    await database.pool.query(change);
    return { [Symbol.asyncDispose]: async () => void (await database.pool.query(back)) };
  };
}

const faults: Fault[] = [
  { name: "no token that is known", code: "UNAUTHENTICATED", bearer: unknownToken },
  { name: "a malformed id", code: "INVALID_ARGUMENT", asksFor: "nothing" },
  { name: "an unknown id", code: "NOT_FOUND", asksFor: crypto.randomUUID() },
  { name: "a database that is gone", code: "UNAVAILABLE", behindProxy: true },
  {
    name: "a wrong password",
    code: "UNAVAILABLE",
    as: (url) => {
      url.password = "secret-password";
    },
  },
  {
    name: "a user that there is not",
    code: "UNAVAILABLE",
    as: (url) => {
      url.username = "nobody";
      url.password = "secret-password";
    },
  },
  // The breaker opens in the end.
  { name: "a locked table", code: "DEADLINE_EXCEEDED|UNAVAILABLE", make: () => lockTable(database) },
  {
    name: "a right that is missing",
    code: "UNAVAILABLE",
    make: withSchema(
      "revoke select on memory_job from gomemory_reader",
      "grant select on memory_job to gomemory_reader",
    ),
  },
  {
    name: "a column that is missing",
    code: "UNAVAILABLE",
    make: withSchema(
      "alter table memory_job rename column error to other",
      "alter table memory_job rename column other to error",
    ),
  },
  {
    name: "an error that quotes a row",
    code: "DATA_LOSS",
    make: withSchema(
      `alter table memory_job rename to hidden;
       create view memory_job as select req_id, status, error::int::text as error, created_at from hidden;
       grant select on memory_job to gomemory_reader`,
      "drop view memory_job; alter table hidden rename to memory_job",
    ),
  },
];

test.for(faults)("$name", async ({ code, make, as, bearer = token, asksFor = reqId, behindProxy }) => {
  await using proxy = await startProxy(reader.url);
  const url = new URL(behindProxy ? proxy.url : reader.url);
  as?.(url);
  await using app = await startTestApp({
    DATABASE_URL: url.href,
    AUTH_TOKENS_FILE: tokens,
    LOG_REQUESTS: "true",
    REQUEST_TIMEOUT: "300ms",
    STATUS_TOKEN: token,
  });
  const answers: unknown[] = [];
  {
    await using _fault = await make?.();
    if (behindProxy) proxy.cut();
    for (const protocol of protocols) {
      const client: Client = protocol.open(app.url, bearer);
      const answer = await client.ask(asksFor);
      if (!protocol.isRest) expect(answer).toMatchObject({ code: expect.stringMatching(`^(${code})$`) });
      answers.push(answer);
      client.close();
    }
    // What the clients do not show: headers, and the details of errors.
    const headers = { Authorization: `Bearer ${bearer}` };
    const raw = await overHttp1(app.url, { method: "GET", path: `/get_status/${asksFor}`, headers });
    answers.push(raw.headers, raw.body.toString("latin1"));
    for (const path of ["/readyz", "/metrics"]) {
      const probed = await overHttp1(app.url, { method: "GET", path, headers });
      answers.push(probed.headers, probed.body.toString("latin1"));
    }
  }
  expect(JSON.stringify(answers)).not.toMatch(secrets);
  expect(app.logs.length).toBeGreaterThan(0);
  expect(JSON.stringify(app.logs)).not.toMatch(secrets);
});
