import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import type { ClientProgram } from "./client.ts";
import { expected, jobs } from "./expected-answers.ts";
import { move, untilHeld, untilWatched } from "./waiting.ts";

/** A client of RPCs, and what is peculiar to it. */
interface WaitingClient {
  /** Starts the client. @param url the service's. */
  readonly start: (url: string) => ClientProgram;
  /** The service's. */
  readonly settings?: Readonly<Record<string, string>>;
  /** What it reports of a stream whose deadline passes. Default: DEADLINE_EXCEEDED. */
  readonly late?: object;
  /** Whether it shows the events of a stream only when the stream has ended. */
  readonly collectsEvents?: true;
  /** How many ids it can ask for at most. Default: 1,000, as many as the contract allows. */
  readonly mostIds?: number;
}

/** A client, and the service and the database of its tests. */
interface Rig extends Required<Pick<WaitingClient, "start" | "settings">> {
  readonly database: TestDatabase;
  readonly app: TestApp;
  readonly client: ClientProgram;
}

/** Longer than any test. */
const longWait = 30_000;

/** Tests what every client can do instead of asking again and again: wait, watch, and ask for many statuses at once. */
export function testWaiting({
  start,
  settings = {},
  late,
  collectsEvents,
  mostIds = 1_000,
}: WaitingClient): void {
  describe("instead of polling", () => {
    const rig = { start, settings } as { -readonly [name in keyof Rig]: Rig[name] };

    beforeAll(async () => {
      rig.database = await createDatabase();
      rig.app = await startTestApp({ ...settings, DATABASE_URL: rig.database.url });
      rig.client = start(rig.app.url);
    });

    afterAll(async () => {
      await rig.client[Symbol.asyncDispose]();
      await rig.app[Symbol.asyncDispose]();
      await rig.database[Symbol.asyncDispose]();
    });

    testWaits(rig);
    testBatches(rig, mostIds);
    if (collectsEvents) testCollected(rig);
    else testWatches(rig, late ?? expected.deadlineExceeded);
  });
}

/** The status as the clients report it. */
async function documented({ database }: Rig, reqId: string): Promise<object> {
  return JSON.parse(await documentedJson(database.db, reqId));
}

/** An event as the clients report it. */
async function statusEvent(rig: Rig, reqId: string): Promise<object> {
  return { status: { reqId, status: await documented(rig, reqId) } };
}

function testWaits(rig: Rig): void {
  test("a wait: the answer comes when the job is done", async () => {
    const reqId = await insertJob(rig.database.db);
    const waiting = rig.client.call(reqId, { waitMs: longWait });
    await untilWatched(rig.app.url, 1);
    await move(rig.database, reqId, "failure", "it broke");
    expect(await waiting).toMatchObject({ response: await documented(rig, reqId) });
  });

  test("a wait that is over, and one that would last until the deadline: OK, with the status as it is", async () => {
    const reqId = await insertJob(rig.database.db);
    const response = await documented(rig, reqId);
    expect(await rig.client.call(reqId, { waitMs: 300 })).toMatchObject({ response });
    const inTime = rig.client.call(reqId, { waitMs: longWait, timeoutMs: 1_000 });
    expect(await inTime).toMatchObject({ response });
  });

  test("a wait for an unknown id, and a negative one: errors with their details", async () => {
    const unknown = rig.client.call(crypto.randomUUID(), { waitMs: longWait });
    expect(await unknown).toMatchObject(expected.notFound);
    expect(await rig.client.call(crypto.randomUUID(), { waitMs: -1_000 })).toEqual(expected.invalidWait);
  });
}

/** @param late what the client reports of a stream whose deadline passes. */
function testWatches(rig: Rig, late: object): void {
  test("a watch: the current states, each change, and the end with OK", async () => {
    const reqId = await insertJob(rig.database.db);
    const done = await insertJob(rig.database.db, { status: "success" });
    const unknown = crypto.randomUUID();
    const { events, ended } = rig.client.watch([reqId, done, unknown, reqId.toUpperCase()]);
    const current = [
      await statusEvent(rig, reqId),
      await statusEvent(rig, done),
      { gone: { reqId: unknown } },
    ];
    await expect.poll(() => events.length).toBe(3);
    expect(events).toEqual(expect.arrayContaining(current));

    const changes: object[] = [];
    for (const [status, error] of [["processing"], ["failure", `it broke\n"badly" 🧠`]] as const) {
      await move(rig.database, reqId, status, error);
      changes.push(await statusEvent(rig, reqId));
      await expect.poll(() => events.slice(3)).toEqual(changes);
    }
    expect(await ended).toEqual({ status: {} });
  });

  test("a watch of a malformed id, of none, and without a database: errors with their details", async () => {
    const malformed = rig.client.watch([crypto.randomUUID(), "a b"]);
    expect(await malformed.ended).toEqual(expected.malformedAt(1));
    expect(await rig.client.watch([]).ended).toEqual(expected.noIds);
    await using lost = await startTestApp({
      ...rig.settings,
      DATABASE_URL: "postgres://nobody@127.0.0.1:1/none",
    });
    await using ownClient = rig.start(lost.url);
    expect(await ownClient.watch([crypto.randomUUID()]).ended).toMatchObject(expected.unavailable);
  });

  test("a watch beyond MAX_WAITING: RESOURCE_EXHAUSTED, with the limit's name and RetryInfo", async () => {
    await using full = await startTestApp({
      ...rig.settings,
      DATABASE_URL: rig.database.url,
      MAX_WAITING: "1",
    });
    await using ownClient = rig.start(full.url);
    const cancelling = new AbortController();
    const reqId = await insertJob(rig.database.db);
    const held = ownClient.watch([reqId], { signal: cancelling.signal });
    await expect.poll(() => held.events.length).toBe(1);
    expect(await ownClient.watch([reqId]).ended).toMatchObject(expected.shedBy("MAX_WAITING"));
    cancelling.abort();
    await held.ended;
  });

  test("a watch whose deadline passes: DEADLINE_EXCEEDED", async () => {
    const { events, ended } = rig.client.watch([await insertJob(rig.database.db)], { timeoutMs: 1_000 });
    expect(await ended).toMatchObject(late);
    expect(events.length).toBe(1);
  });

  test("a watch that is cancelled: CANCELLED, and nothing is held", async () => {
    const cancelling = new AbortController();
    const { ended } = rig.client.watch([await insertJob(rig.database.db)], { signal: cancelling.signal });
    await untilHeld(rig.app.url, "watch", 1);
    cancelling.abort();
    expect(await ended).toMatchObject(expected.cancelled);
    await untilHeld(rig.app.url, "watch", 0);
  });

  test("the service shuts down: a wait ends with OK, and a watch with GOING_AWAY and RetryInfo", async () => {
    await using going = await startTestApp({
      ...rig.settings,
      DATABASE_URL: rig.database.url,
      SHUTDOWN_TIMEOUT: "2s",
    });
    await using ownClient = rig.start(going.url);
    const reqId = await insertJob(rig.database.db);
    const waiting = ownClient.call(reqId, { waitMs: longWait });
    const { events, ended } = ownClient.watch([reqId]);
    await untilHeld(going.url, "wait", 1);
    await expect.poll(() => events.length).toBe(1);
    await going[Symbol.asyncDispose]();
    expect(await waiting).toMatchObject({ response: await documented(rig, reqId) });
    expect(await ended).toEqual(expected.goingAway);
  });
}

function testCollected(rig: Rig): void {
  test("a watch: the events, all at its end", async () => {
    const reqId = await insertJob(rig.database.db);
    const { events, ended } = rig.client.watch([reqId]);
    await untilWatched(rig.app.url, 1);
    await move(rig.database, reqId, "success");
    expect(await ended).toEqual({ status: {} });
    expect(events).toEqual([
      expect.objectContaining({ status: expect.objectContaining({ reqId }) }),
      await statusEvent(rig, reqId),
    ]);
  });

  test("a watch of a malformed id, and of none: errors with their details", async () => {
    const malformed = rig.client.watch([crypto.randomUUID(), "a b"]);
    expect(await malformed.ended).toEqual(expected.malformedAt(1));
    expect(await rig.client.watch([]).ended).toEqual(expected.noIds);
  });
}

function testBatches(rig: Rig, mostIds: number): void {
  test("a batch: in the order asked, each id with its status or its reason; long errors are cut", async () => {
    const reqIds = await Promise.all(jobs.map((job) => insertJob(rig.database.db, job)));
    const long = await insertJob(rig.database.db, { status: "failure", error: "🧠".repeat(1_000) });
    const unknown = crypto.randomUUID();
    const statuses = await Promise.all(
      reqIds.map(async (reqId) => ({ reqId, status: await documented(rig, reqId) })),
    );
    const [first] = statuses;
    const items = [
      ...statuses,
      { reqId: unknown, error: { reason: "STATUS_NOT_FOUND" } },
      {
        reqId: long,
        status: { ...(await documented(rig, long)), error: "🧠".repeat(3_072 / 4) },
        errorTruncated: true,
      },
      first,
    ];
    const asked = [...reqIds, unknown, long, reqIds[0]?.toUpperCase() ?? ""];
    expect(await rig.client.batch(asked)).toEqual({ response: { items } });
  });

  test(`a batch of ${mostIds.toLocaleString("en")} ids`, async () => {
    const unknown = Array.from({ length: mostIds }, () => crypto.randomUUID());
    const items = unknown.map((reqId) => ({ reqId, error: { reason: "STATUS_NOT_FOUND" } }));
    expect(await rig.client.batch(unknown)).toEqual({ response: { items } });
  });

  test("a batch of a malformed id, and of none: errors with their details", async () => {
    const malformed = rig.client.batch([crypto.randomUUID(), crypto.randomUUID(), "a b"]);
    expect(await malformed).toEqual(expected.malformedAt(2));
    expect(await rig.client.batch([])).toEqual(expected.noIds);
  });

  if (mostIds === 1_000)
    test("a batch of 1,001 ids: an error with its details", async () => {
      const tooMany = Array.from({ length: 1_001 }, () => crypto.randomUUID());
      expect(await rig.client.batch(tooMany)).toEqual(expected.tooManyIds);
    });
}
