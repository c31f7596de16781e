import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import { type ClientHttp2Session, connect } from "node:http2";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GetStatusResponse_Status, StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { type Client, protocols } from "../support/protocols.ts";
import { insertJob } from "../support/rows.ts";
import { envoy } from "./proxies/envoy.ts";
import { haproxy } from "./proxies/haproxy.ts";
import { nginx } from "./proxies/nginx.ts";
import { type ProxyKind, type ReverseProxy, startReverseProxy } from "./proxies/reverse-proxy.ts";
import type { Tool } from "./tools.ts";

// Serially, since they share apt's lists.
const installed: { kind: ProxyKind; tool: Tool }[] = [];
for (const kind of [nginx, haproxy, envoy]) installed.push({ kind, tool: await kind.install() });

/** How long connections are idle, in milliseconds. */
const idleTime = 30_000;

let database: TestDatabase;
let app: TestApp;
let reqId: string;
const proxies: ReverseProxy[] = [];
const idlers: Idler[] = [];
/** Resolves after the idle time, which all proxies share. */
let idled: Promise<void>;

beforeAll(async () => {
  database = await createDatabase();
  app = await startTestApp({ DATABASE_URL: database.url });
  reqId = await insertJob(database.db, { status: "failure", error: `Vector database timeout\n"during" 🧠` });
  for (const { kind, tool } of installed) {
    if (tool.skipped) continue;
    proxies.push(await startReverseProxy(kind, tool, app.port));
  }
  for (const proxy of proxies) idlers.push(await beginToIdle(proxy));
  idled = pause(idleTime);
});

afterAll(async () => {
  for (const idler of idlers) idler.close();
  for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

describe.each(installed)("$tool.title", ({ tool }) => {
  describe.skipIf(tool.skipped)("reverse proxy", () => {
    const index = installed.filter((other) => !other.tool.skipped).findIndex((other) => other.tool === tool);

    test.for(protocols)("$name: the same answers as without the proxy", async ({ name, open }) => {
      const { http1, http2 } = (proxies[index] as ReverseProxy).urls;
      const direct = open(app.url);
      const behind = open(name.includes("HTTP/1.1") ? http1 : http2);
      for (const id of [reqId, "a b", crypto.randomUUID()]) {
        expect(await behind.ask(id)).toEqual(await direct.ask(id));
      }
      direct.close();
      behind.close();
    });

    test("REST, HTTP/1.1: keep-alive, 30 s idle, the same connection", async () => {
      await idled;
      expect(await idlers[index]?.rest()).toEqual({ status: 200, reused: true });
    });

    test("gRPC: 30 s idle, the same connection", async () => {
      await idled;
      expect(await idlers[index]?.grpc()).toEqual({ status: GetStatusResponse_Status.failure, reused: true });
    });

    test("a reload under calls over REST and gRPC: no call is lost", async () => {
      const proxy = proxies[index] as ReverseProxy;
      const grpcJs = protocols.find(({ name }) => name.includes("grpc-js"))?.open(proxy.urls.http2) as Client;
      const agent = new Agent({ keepAlive: true });
      const callers = [
        ...Array.from({ length: 4 }, () => callRepeatedly(() => getOverRest(proxy.urls.http1, agent))),
        ...Array.from({ length: 4 }, () => callRepeatedly(() => grpcJs.ask(reqId))),
      ];
      await Promise.all(callers.map((caller) => caller.answerMore(50)));
      await proxy.reload();
      await Promise.all(callers.map((caller) => caller.answerMore(200)));
      const answers = await Promise.all(callers.map((caller) => caller.stop()));
      agent.destroy();
      grpcJs.close();
      const direct = await (await fetch(`${app.url}/get_status/${reqId}`)).text();
      for (const different of answers) expect([...different]).toEqual([JSON.stringify({ json: direct })]);
    });
  });
});

/** A client that has made calls over kept connections, and makes further calls over the same ones. */
interface Idler {
  rest(): Promise<{ status: number | undefined; reused: boolean }>;
  grpc(): Promise<{ status: GetStatusResponse_Status; reused: boolean }>;
  close(): void;
}

async function beginToIdle({ urls }: ReverseProxy): Promise<Idler> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const session = connect(urls.http2);
  const grpc = createClient(StatusService, createGrpcTransport(overSession(urls.http2, session)));
  const idler: Idler = {
    async rest() {
      const request = get(`${urls.http1}/get_status/${reqId}`, { agent });
      const [response] = (await once(request, "response")) as [IncomingMessage];
      await text(response);
      return { status: response.statusCode, reused: request.reusedSocket };
    },
    async grpc() {
      const { status } = await grpc.getStatus({ reqId });
      return { status, reused: !session.closed };
    },
    close() {
      agent.destroy();
      session.destroy();
    },
  };
  expect(await idler.rest()).toEqual({ status: 200, reused: false });
  expect(await idler.grpc()).toEqual({ status: GetStatusResponse_Status.failure, reused: true });
  return idler;
}

/** A transport whose calls share one connection, which is not replaced. */
function overSession(baseUrl: string, session: ClientHttp2Session) {
  return {
    baseUrl,
    sessionManager: {
      authority: baseUrl,
      request: async (method: string, path: string, headers: object, options: object) =>
        session.request({ ":method": method, ":path": path, ...headers }, options),
      notifyResponseByteRead() {},
    },
  };
}

/** Retries, as clients do, when a kept connection was closed before any response (RFC 9112, section 9.3.1). */
async function getOverRest(url: string, agent: Agent): Promise<unknown> {
  const request = get(`${url}/get_status/${reqId}`, { agent });
  try {
    const [response] = (await once(request, "response")) as [IncomingMessage];
    const body = await text(response);
    return response.statusCode === 200 ? { json: body } : { code: response.statusCode, body };
  } catch (error) {
    return request.reusedSocket ? getOverRest(url, agent) : { error: String(error) };
  }
}

/** Makes one call after the other until stopped. */
function callRepeatedly(call: () => Promise<unknown>) {
  const answers = new Set<string>();
  let calls = 0;
  let stopping = false;
  const running = (async () => {
    while (!stopping) {
      answers.add(JSON.stringify(await call()));
      calls++;
    }
  })();
  return {
    /** Waits until this many more calls have been answered. */
    async answerMore(count: number): Promise<void> {
      const enough = calls + count;
      await expect.poll(() => calls, { timeout: 20_000 }).toBeGreaterThanOrEqual(enough);
    },
    /** @returns the distinct answers. */
    async stop(): Promise<ReadonlySet<string>> {
      stopping = true;
      await running;
      return answers;
    },
  };
}
