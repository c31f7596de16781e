import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  constants,
} from "node:http2";
import { text } from "node:stream/consumers";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { WatchStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { framed } from "../support/calls.ts";
import { createFolder } from "../support/folder.ts";
import { metricValue } from "../support/metric.ts";
import { startServing } from "../support/process.ts";
import { insertPending } from "../support/rows.ts";
import { tokenLine } from "../support/tokens.ts";
import { memoryAllowed, smallHeap, startTarget, type Target } from "./support.ts";

const watchPath = "/gomemory.status.v1.StatusService/WatchStatus";
const grpc = { ":method": "POST", "content-type": "application/grpc", te: "trailers" };
/** The held calls that a connection may have: 80 % of MAX_CONCURRENT_STREAMS. */
const heldOfConnection = 80;

let target: Target;
let before: number;

beforeAll(async () => {
  target = await startTarget({
    PEER_TIMEOUT: "1s",
    MAX_STREAM_RESETS: "10000",
    // Not this limit, but those of held calls are tested.
    MAX_WHEN_BUSY: "4096",
    NODE_OPTIONS: smallHeap,
  });
  await target.honest.check();
  before = target.memory();
});

afterAll(() => target[Symbol.asyncDispose]());

afterEach(async () => {
  await target.honest.check();
  expect(target.memory() - before).toBeLessThan(memoryAllowed);
});

async function metricOf(url: string, name: string, labels = {}): Promise<number | undefined> {
  const headers = { Authorization: "Bearer of-bob" };
  return metricValue(await (await fetch(`${url}/metrics`, { headers })).text(), name, labels);
}

const held = (kind: string, url = target.serving.url) => metricOf(url, "rpc_server_held_calls", { kind });
const watchedIds = () => metricOf(target.serving.url, "status_watched_ids");

function openSession(settings = {}, { url } = target.serving): ClientHttp2Session {
  return connectHttp2(url, { settings }).on("error", () => {});
}

function watch(session: ClientHttp2Session, reqIds: string[]): ClientHttp2Stream {
  const stream = session.request({ ":path": watchPath, ...grpc }).on("error", () => {});
  stream.end(framed(toBinary(WatchStatusRequestSchema, create(WatchStatusRequestSchema, { reqIds }))));
  return stream;
}

test("watches that are reset in a loop leave nothing behind", async () => {
  const reqIds = await insertPending(target.database.db, 100);
  for (let round = 0; round < 30; round++) {
    const session = openSession();
    await once(session, "remoteSettings");
    const streams = Array.from({ length: 50 }, () => watch(session, reqIds));
    const closed = streams.map((stream) => once(stream, "close"));
    const answered = streams.map((stream) => once(stream, "response").catch(() => {}));
    // Some are reset before their message was read, some during their first read, some while they wait.
    if (round % 3 > 0) await Promise.race(answered);
    if (round % 3 > 1) await Promise.all(answered);
    for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
    await Promise.all(closed);
    session.destroy();
  }
  await expect.poll(() => held("watch"), { interval: 5 }).toBe(0);
  await expect.poll(watchedIds, { interval: 5 }).toBe(0);
});

test("watches that are never read keep little of what changes, and are reset after 30 seconds", {
  timeout: 60_000,
}, async () => {
  const reqIds = await insertPending(target.database.db, 100);
  const sessions = [openSession({ initialWindowSize: 0 }), openSession({ initialWindowSize: 0 })];
  const streams: ClientHttp2Stream[] = [];
  for (const session of sessions) {
    for (let count = 0; count < heldOfConnection; count++) {
      streams.push(watch(session, reqIds));
      // A few at a time: together, the first reads would take more than batches may.
      if (count % 10 === 9) await expect.poll(() => held("watch"), { interval: 5 }).toBe(streams.length);
    }
  }
  const ends = streams.map(async (stream) => {
    await once(stream, "close");
    return stream.rstCode;
  });
  // 3 MB for each of the watches, half a gigabyte for all.
  await target.database.pool.query(
    "update memory_job set status = 'failure', error = repeat('é', 16384) where status = 'pending'",
  );
  await expect.poll(watchedIds, { interval: 5 }).toBe(0);
  await target.honest.check();
  expect(target.memory() - before).toBeLessThan(memoryAllowed);
  // Their clients read nothing, and learn it by the reset alone.
  expect([...new Set(await Promise.all(ends))]).toEqual([constants.NGHTTP2_CANCEL]);
  expect(await held("watch")).toBe(0);
  for (const session of sessions) session.destroy();
});

test("thousands of long polls of one token take half of MAX_WAITING, and leave the rest to others", async () => {
  await using folder = await createFolder();
  const tokens = tokenLine("alice", "of-alice") + tokenLine("bob", "of-bob");
  await using serving = await startServing({
    DATABASE_URL: target.database.url,
    AUTH_TOKENS_FILE: await folder.write("tokens", tokens),
    MAX_WAITING: "2000",
  });
  const [reqId] = await insertPending(target.database.db, 1);
  const sessions: ClientHttp2Session[] = [];
  /** @returns the status, and the limit that sheds the call. */
  const poll = async (session: ClientHttp2Session, name: string, query = "?wait=25s") => {
    const path = `/get_status/${reqId}${query}`;
    const stream = session.request({ ":path": path, authorization: `Bearer of-${name}` });
    stream.on("error", () => {}).resume();
    const [headers] = await once(stream, "response");
    return `${headers[":status"]} ${headers["error-limit"]}`;
  };
  const answers: string[] = [];
  for (let opened = 0; opened < 25; opened++) {
    const session = openSession({}, serving);
    sessions.push(session);
    for (let count = 0; count < heldOfConnection; count++) {
      void poll(session, "alice").then(
        (told) => answers.push(told),
        () => {},
      );
    }
    const known = async () => ((await held("wait", serving.url)) ?? 0) + answers.length;
    await expect.poll(known, { interval: 5 }).toBe(sessions.length * heldOfConnection);
  }
  expect(await held("wait", serving.url)).toBe(1_000);
  expect([...new Set(answers)]).toEqual(["503 MAX_WAITING"]);

  const another = openSession({}, serving);
  expect(await poll(another, "bob", "")).toBe("200 undefined");
  expect(await poll(another, "bob", "?wait=50ms")).toBe("200 undefined");
  expect(await poll(another, "alice", "")).toBe("200 undefined");
  expect(await poll(another, "alice")).toBe("503 MAX_WAITING");
  for (const session of [another, ...sessions]) session.destroy();
});

describe("long headers that are parsed", () => {
  const rows = [
    { name: "accept", part: "text/event-stream;q=0.001," },
    { name: "accept", part: 'text/event-stream;x="\\",",' },
    { name: "accept", part: "text/event-stream;;;;;;;;;;;;" },
    { name: "prefer", part: "wait=9x," },
    { name: "prefer", part: 'x="\\"\\"\\"\\"";wait=1,' },
    { name: "prefer", part: ",;,;,;,;" },
    { name: "last-event-id", part: "9".repeat(20) },
  ];
  test.for(rows)("$name: $part", async ({ name, part }) => {
    const session = openSession();
    const value = part.repeat(15_000 / part.length);
    const path = `/get_status/${target.reqId}`;
    const asked = Array.from({ length: 500 }, async () => {
      const stream = session.request({
        ":path": path,
        accept: "text/event-stream, */*;q=0.1",
        [name]: value,
      });
      const [headers] = await once(stream, "response");
      await text(stream);
      return headers[":status"];
    });
    expect(new Set(await Promise.all(asked))).toEqual(new Set([200]));
    session.destroy();
  });
});
