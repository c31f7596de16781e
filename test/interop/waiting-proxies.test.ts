import { toJson } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { codeName } from "../../src/endpoints/codes.ts";
import { StatusService, WatchStatusResponseSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { documentedJson, insertJob, insertPending } from "../support/rows.ts";
import { envoy, envoyWithoutTimeout } from "./proxies/envoy.ts";
import { haproxy } from "./proxies/haproxy.ts";
import { nginx } from "./proxies/nginx.ts";
import { type ProxyKind, type ReverseProxy, startReverseProxy } from "./proxies/reverse-proxy.ts";
import type { Tool } from "./tools.ts";
import { move, untilHeld } from "./waiting.ts";

const kinds = [
  { kind: nginx, name: "reverse proxy" },
  { kind: haproxy, name: "reverse proxy" },
  { kind: envoyWithoutTimeout, name: "reverse proxy, timeout: 0s" },
];
// Serially, since they share apt's lists.
const installed: { kind: ProxyKind; name: string; tool: Tool }[] = [];
for (const each of kinds) installed.push({ ...each, tool: await each.kind.install() });
const envoyTool = await envoy.install();

/** As long as MAX_WAIT allows by default. */
const [wait, waitMs] = ["30s", 30_000];

/** The time limit for two heartbeats, 15 s apart, on a busy machine. */
const heartbeats = { timeout: 60_000 };

let database: TestDatabase;
let app: TestApp;
/** What waits behind each proxy. */
const waiters = new Map<ProxyKind, Waiter>();

// All wait at the same time: half a minute for all of them.
beforeAll(async () => {
  database = await createDatabase();
  app = await startTestApp({ DATABASE_URL: database.url });
  for (const { kind, tool } of [...installed, { kind: envoy, tool: envoyTool }]) {
    if (!tool.skipped) waiters.set(kind, await beginToWait(await startReverseProxy(kind, tool, app.port)));
  }
});

afterAll(async () => {
  for (const { proxy } of waiters.values()) await proxy[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

describe.each(installed)("$tool.title", ({ kind, name, tool }) => {
  describe.skipIf(tool.skipped)(name, () => {
    const waiter = () => waiters.get(kind) as Waiter;

    test("REST: a wait of 30 s ends with 200, and the status as it is", async () => {
      const { rest, pending } = waiter();
      expect(await rest).toEqual({ status: 200, body: pending });
    });

    test("gRPC: a wait of 30 s ends with OK", async () => {
      expect(await waiter().grpc).toBe("OK");
    });

    test("REST: events: each comes at once, with comments in between, and the end", async () => {
      const { events, pending } = waiter();
      const { createdAt } = JSON.parse(pending);
      const quiet = `id: ${createdAt}/pending\nevent: status\ndata: ${pending}\n\n:\n\n:\n\n`;
      await expect
        .poll(() => events.received.join("").replace(/^retry: \d+\n\n/, ""), heartbeats)
        .toBe(quiet);
      events.received.length = 0;
      await move(database, events.reqId, "success");
      expect(await events.ended).toBe("OK");
      const done = await documentedJson(database.db, events.reqId);
      const final = `id: ${createdAt}/success\nevent: status\ndata: ${done}\n\n`;
      expect(events.received.join("")).toBe(`${final}event: end\ndata: {"reason":"FINAL"}\n\n`);
    });

    test("gRPC: a watch: each event comes at once, with heartbeats in between, and OK", async () => {
      const { watch, pending } = waiter();
      const { reqId } = watch;
      const statusEvent = (status: string) => ({ status: { reqId, status: JSON.parse(status) } });
      const heartbeat = { heartbeat: { datastoreAnsweredAt: expect.any(String) } };
      const quiet = [statusEvent(pending), heartbeat, heartbeat];
      await expect.poll(() => watch.received, heartbeats).toEqual(quiet);
      await move(database, reqId, "success");
      expect(await watch.ended).toBe("OK");
      const done = await documentedJson(database.db, reqId);
      expect(watch.received.slice(3)).toEqual([statusEvent(done)]);
    });
  });
});

describe(envoyTool.title, () => {
  describe.skipIf(envoyTool.skipped)("reverse proxy, default timeout of 15 s", () => {
    const waiter = () => waiters.get(envoy) as Waiter;

    test("REST: a wait of 30 s ends with 504", async () => {
      expect(await waiter().rest).toEqual({ status: 504, body: "upstream request timeout" });
    });

    test("gRPC: a wait of 30 s ends with UNAVAILABLE, which is Envoy's", async () => {
      expect(await waiter().grpc).toBe("UNAVAILABLE: upstream request timeout");
    });

    test("REST: events are cut", async () => {
      expect(await waiter().events.ended).toMatch(/terminated/);
    });

    test("gRPC: a watch is cut", async () => {
      expect(await waiter().watch.ended).toMatch(/^(INTERNAL|UNAVAILABLE)/);
    });
  });
});

// By now, nothing else waits.
describe.each(installed)("$tool.title", ({ kind, name, tool }) => {
  describe.skipIf(tool.skipped)(name, () => {
    const proxy = () => (waiters.get(kind) as Waiter).proxy;

    test("REST: the service notices that a client has gone that waits, or reads events", async () => {
      const reqId = await insertJob(database.db);
      const cancelling = new AbortController();
      const { signal } = cancelling;
      const ended = [endOf(waitOverRest(proxy(), reqId, signal)), openEvents(proxy(), reqId, signal).ended];
      await untilHeld(app.url, "wait", 1);
      await untilHeld(app.url, "events", 1);
      cancelling.abort();
      await Promise.all(ended);
      await untilHeld(app.url, "wait", 0);
      await untilHeld(app.url, "events", 0);
    });

    test("gRPC: 150 watches of two clients: all are held, until the clients have gone", async () => {
      const cancelling = new AbortController();
      const reqId = await insertJob(database.db);
      const watches = Array.from({ length: 2 }, () => {
        const client = clientOf(proxy());
        return Array.from({ length: 75 }, () => openWatch(client, reqId, cancelling.signal));
      }).flat();
      await untilHeld(app.url, "watch", watches.length);
      cancelling.abort();
      await Promise.all(watches.map(({ ended }) => ended));
      await untilHeld(app.url, "watch", 0);
    });
  });
});

/** Calls that wait, behind one proxy, for jobs that are pending. */
interface Waiter {
  readonly proxy: ReverseProxy;
  /** The documented answer for each of them. */
  readonly pending: string;
  /** How a wait ended. */
  readonly rest: Promise<{ status: number; body: string }>;
  readonly grpc: Promise<string>;
  readonly events: Stream<string>;
  readonly watch: Stream<object>;
}

/** What has arrived of a stream, and how it ended: with "OK", or an error. */
interface Stream<Part> {
  readonly reqId: string;
  readonly received: Part[];
  readonly ended: Promise<string>;
}

async function beginToWait(proxy: ReverseProxy): Promise<Waiter> {
  // Of the same second, so that their answers are the same.
  const reqIds = (await insertPending(database.db, 3)) as [string, string, string];
  const pending = await documentedJson(database.db, reqIds[0]);
  return {
    proxy,
    pending,
    rest: waitOverRest(proxy, reqIds[0]),
    grpc: waitOverGrpc(proxy, reqIds[0]),
    events: openEvents(proxy, reqIds[1]),
    watch: openWatch(clientOf(proxy), reqIds[2]),
  };
}

async function waitOverRest({ urls }: ReverseProxy, reqId: string, signal: AbortSignal | null = null) {
  const response = await fetch(`${urls.http1}/get_status/${reqId}?wait=${wait}`, { signal });
  return { status: response.status, body: await response.text() };
}

function waitOverGrpc(proxy: ReverseProxy, reqId: string): Promise<string> {
  const call = clientOf(proxy).getStatus({ reqId, wait: durationFromMs(waitMs) });
  return endOf(call);
}

function openEvents({ urls }: ReverseProxy, reqId: string, signal: AbortSignal | null = null) {
  const received: string[] = [];
  const headers = { Accept: "text/event-stream" };
  async function read(): Promise<void> {
    const { body } = await fetch(`${urls.http1}/get_status/${reqId}`, { headers, signal });
    for await (const text of body?.pipeThrough(new TextDecoderStream()) ?? []) received.push(text);
  }
  return { reqId, received, ended: endOf(read()) };
}

function openWatch(client: GrpcClient, reqId: string, signal?: AbortSignal): Stream<object> {
  const received: object[] = [];
  async function read(): Promise<void> {
    const events = client.watchStatus({ reqIds: [reqId] }, { ...(signal && { signal }) });
    for await (const event of events) received.push(toJson(WatchStatusResponseSchema, event) as object);
  }
  return { reqId, received, ended: endOf(read()) };
}

type GrpcClient = ReturnType<typeof clientOf>;

/** A client with a connection of its own. */
function clientOf({ urls }: ReverseProxy) {
  return createClient(StatusService, createGrpcTransport({ baseUrl: urls.http2 }));
}

/** @returns "OK", or an error of gRPC or of fetch. */
async function endOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "OK";
  } catch (error) {
    return error instanceof ConnectError ? `${codeName(error.code)}: ${error.rawMessage}` : String(error);
  }
}
