import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseReqId } from "../../src/status/req-id.ts";
import { createJobLedger } from "../../src/store/jobs/job-ledger.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { insertJob } from "../support/rows.ts";

// An error text is at most 16,384 characters: the table cuts what is longer, and refuses no failure for its length.

const limit = 16_384;

/** How an error text may be written. Each puts one in and returns its job's id. */
const ways: Record<string, (database: TestDatabase, error: string) => Promise<string>> = {
  "by an insert": ({ db }, error) => insertJob(db, { status: "failure", error }),
  async "by an update"({ db, pool }, error) {
    const reqId = await insertJob(db);
    const fail = "update memory_job set status = 'failure', error = $2 where req_id = $1";
    await pool.query(fail, [reqId, error]);
    return reqId;
  },
  async "by the ledger"({ db }, error) {
    const reqId = parseReqId(await insertJob(db, { status: "processing" }));
    await createJobLedger(db).fail(reqId, error);
    return reqId;
  },
};

/** The bytes of an error text, as they are stored. */
async function stored({ pool }: TestDatabase, reqId: string): Promise<Buffer> {
  const { rows } = await pool.query(
    "select convert_to(error, getdatabaseencoding()::name) as error from memory_job where req_id = $1",
    [reqId],
  );
  return rows[0]?.error;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

describe.for(Object.entries(ways))("%s", ([, write]) => {
  let unicode: TestDatabase;
  let ascii: TestDatabase;

  beforeAll(async () => {
    unicode = await createDatabase();
    ascii = await createDatabase({ encoding: "SQL_ASCII" });
  });
  afterAll(async () => {
    await unicode[Symbol.asyncDispose]();
    await ascii[Symbol.asyncDispose]();
  });

  test.for([
    { name: "one byte", character: "x" },
    { name: "two bytes", character: "é" },
    { name: "three bytes", character: "€" },
    { name: "four bytes", character: "🧠" },
  ])("characters of $name in UTF8: 16,384 of them are kept, not a bit more", async ({ character }) => {
    const reqId = await write(unicode, character.repeat(limit + 1));
    expect(utf8.decode(await stored(unicode, reqId))).toBe(character.repeat(limit));
  });

  test.for([
    "",
    "it broke",
    "€".repeat(limit),
    "🧠".repeat(limit),
  ])("what is short enough stays", async (error) => {
    const reqId = await write(unicode, error);
    expect(utf8.decode(await stored(unicode, reqId))).toBe(error);
  });

  test("five megabytes are no reason to refuse a failure", async () => {
    const reqId = await write(unicode, "x".repeat(5_000_000));
    expect((await stored(unicode, reqId)).length).toBe(limit);
  });

  test.for(
    ["é", "€", "🧠"].flatMap((character) =>
      Array.from(Buffer.from(character), (_, shift) => ({ character, shift })),
    ),
  )("SQL_ASCII: no $character is cut in two, $shift bytes on", async ({ character, shift }) => {
    const error = "x".repeat(shift) + character.repeat(limit);
    const bytes = await stored(ascii, await write(ascii, error));
    expect(bytes.length).toBeLessThanOrEqual(limit);
    expect(bytes.length).toBeGreaterThan(limit - Buffer.byteLength(character));
    expect(error.startsWith(utf8.decode(bytes))).toBe(true);
  });

  test("SQL_ASCII: what is short enough stays", async () => {
    const error = `${"🧠".repeat(limit / 4 - 1)}four`;
    expect(utf8.decode(await stored(ascii, await write(ascii, error)))).toBe(error);
  });
});

describe("from a client with an encoding of its own", () => {
  const fail = "update memory_job set status = 'failure', error = $2 where req_id = $1";

  /** The driver writes UTF-8 whatever the encoding is called: to Latin-1, these are as many characters as bytes. */
  async function writeAsLatin1(database: TestDatabase, error: string): Promise<Buffer> {
    const reqId = await insertJob(database.db);
    const client = await database.pool.connect();
    await client.query("set client_encoding to 'LATIN1'");
    await client.query(fail, [reqId, error]);
    client.release(true);
    return await stored(database, reqId);
  }

  test("UTF8 counts its own characters", async () => {
    await using database = await createDatabase();
    const bytes = await writeAsLatin1(database, "é".repeat(limit));
    expect(utf8.decode(bytes)).toBe("Ã©".repeat(limit / 2));
  });

  test("SQL_ASCII stores the bytes as they come", async () => {
    await using database = await createDatabase({ encoding: "SQL_ASCII" });
    const bytes = await writeAsLatin1(database, `x${"é".repeat(limit)}`);
    expect(utf8.decode(bytes)).toBe(`x${"é".repeat(limit / 2 - 1)}`);
  });

  test("SQL_ASCII, and bytes that are no UTF-8", async () => {
    await using database = await createDatabase({ encoding: "SQL_ASCII" });
    const reqId = await insertJob(database.db);
    const latin1 = "convert_from(decode(repeat('e9', 20000), 'hex'), 'SQL_ASCII')";
    await database.pool.query(fail.replace("$2", latin1), [reqId]);
    expect(await stored(database, reqId)).toEqual(Buffer.alloc(limit, 0xe9));
  });
});
