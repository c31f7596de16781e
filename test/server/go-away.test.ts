import { connect as connectHttp2, type Http2ServerRequest, type ServerHttp2Session } from "node:http2";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listen } from "../../src/server/listener.ts";
import { writeFrame } from "../../src/server/node-internals.ts";
import { tap } from "../interop/wiretap.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import {
  type Frame,
  flag,
  frame,
  frameType,
  preface,
  restCall,
  setting,
  settings,
} from "../support/http2-frames.ts";
import { openPeer } from "../support/peer.ts";
import { startServing } from "../support/process.ts";
import { type Protocol, protocols } from "../support/protocols.ts";
import { startProxy } from "../support/proxy.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

let database: TestDatabase;
let reqId: string;
let json: string;

beforeAll(async () => {
  database = await createDatabase();
  reqId = await insertJob(database.db);
  json = await documentedJson(database.db, reqId);
});

afterAll(() => database[Symbol.asyncDispose]());

const start = () => startServing({ DATABASE_URL: database.url });

test("a call that crosses the first GOAWAY is answered; the second GOAWAY names the last call", async () => {
  await using service = await start();
  using peer = await openPeer(service.port);
  await peer.deliver(preface);
  service.kill("SIGTERM");
  const isPing = ({ type, flags }: Frame) => type === frameType.ping && (flags & flag.ack) === 0;
  const first = await peer.frame(isPing);
  const goaways = () => peer.frames.filter(({ type }) => type === frameType.goaway);
  expect(goaways().map(({ payload }) => payload.readUInt32BE())).toEqual([2 ** 31 - 1]);
  // The order of node:http2's clients: PING and GOAWAY overtake the call that was begun before.
  peer.send(
    Buffer.concat([
      frame(frameType.ping, flag.ack, 0, first.payload),
      frame(frameType.goaway, 0, 0, Buffer.alloc(8)),
      frame(frameType.headers, flag.endHeaders | flag.endStream, 1, restCall(reqId)),
    ]),
  );
  const second = await peer.frame((one) => isPing(one) && one !== first);
  peer.send(frame(frameType.ping, flag.ack, 0, second.payload));
  await peer.frame(
    ({ type, flags, stream }) => type === frameType.data && stream === 1 && (flags & flag.endStream) !== 0,
  );
  await peer.closed;
  const named = goaways().map(({ payload }) => [payload.readUInt32BE(), payload.readUInt32BE(4)]);
  expect(named.slice(0, 2)).toEqual([
    [2 ** 31 - 1, 0],
    [1, 0],
  ]);
  expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
});

test("the shutdown waits for a client that answers no PING for one second at most", async () => {
  await using service = await start();
  using peer = await openPeer(service.port);
  await peer.deliver(preface);
  service.kill("SIGTERM");
  await peer.closed;
  expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
});

test("the shutdown does not wait for the PING of a client that has sent GOAWAY and has no calls", async () => {
  await using service = await start();
  using peer = await openPeer(service.port);
  await peer.deliver(preface);
  service.kill("SIGTERM");
  await peer.frame(({ type }) => type === frameType.goaway);
  const announcedAt = performance.now();
  peer.send(frame(frameType.goaway, 0, 0, Buffer.alloc(8)));
  await peer.closed;
  // A client without an answer to PING has one second.
  expect(performance.now() - announcedAt).toBeLessThan(900);
  expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
});

test("a client that has not read its answers when the service stops gets them all, without the first GOAWAY", async () => {
  const size = 2 ** 25;
  const answered = Promise.withResolvers<ServerHttp2Session>();
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    shutdownTimeout: 20_000,
    handler(request, response) {
      response.writeHead(200);
      response.end(Buffer.alloc(size));
      answered.resolve((request as Http2ServerRequest).stream.session as ServerHttp2Session);
    },
  });
  using peer = await openPeer(listener.address.port);
  peer.socket.pause();
  const windows = [
    settings(setting.initialWindowSize, 2 ** 30),
    frame(frameType.windowUpdate, 0, 0, Buffer.from([63, 0, 0, 0])),
  ];
  const call = frame(frameType.headers, flag.endHeaders | flag.endStream, 1, restCall(reqId));
  peer.send(Buffer.concat([preface, ...windows, call]));
  const session = await answered.promise;
  await expect.poll(() => writeFrame(session.socket, Buffer.alloc(0)), { interval: 5 }).toBe(false);
  const stopped = listener[Symbol.asyncDispose]();
  peer.socket.resume();
  await peer.closed;
  await stopped;
  const ofType = (wanted: number) => peer.frames.filter(({ type }) => type === wanted);
  expect(ofType(frameType.data).reduce((sum, { payload }) => sum + payload.length, 0)).toBe(size);
  expect(new Set(ofType(frameType.goaway).map(({ payload }) => payload.readUInt32BE()))).toEqual(
    new Set([1]),
  );
});

/** A call that node:http2 has not sent when GOAWAY arrives, it refuses itself, with REFUSED_STREAM. */
test("a shutdown under load loses no call that node:http2 has sent", async () => {
  await using service = await start();
  await using wiretap = await tap(service.port);
  const session = connectHttp2(`http://${wiretap.target}`);
  const refused: (number | undefined)[] = [];
  let answered = 0;
  const clients = Array.from({ length: 32 }, async () => {
    while (!session.closed && !session.destroyed) {
      const stream = session.request({ ":path": `/get_status/${reqId}` });
      const answer = await text(stream).catch(() => undefined);
      if (answer === json) answered++;
      else refused.push(stream.id);
    }
  });
  await expect.poll(() => answered, { timeout: 20_000 }).toBeGreaterThan(500);
  service.kill("SIGTERM");
  await Promise.all(clients);
  expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
  const ofType = (frames: readonly Frame[], wanted: number) => frames.filter(({ type }) => type === wanted);
  expect(ofType(wiretap.fromService, frameType.resetStream)).toEqual([]);
  const sent = ofType(wiretap.fromClient, frameType.headers).map(({ stream }) => stream);
  expect(sent.filter((stream) => refused.includes(stream))).toEqual([]);
  expect(sent.length).toBe(answered);
});

const [grpcJs] = protocols.filter(({ name }) => name.includes("grpc-js")) as [Protocol];

test("restarts under load lose no call of @grpc/grpc-js", async () => {
  await using started = new AsyncDisposableStack();
  let current = started.use(await start());
  // Stands for a load balancer, which sends clients to the instance that is running.
  const balancer = started.use(await startProxy(current.url));
  const client = grpcJs.open(`http://${new URL(balancer.url).host}`);
  let answered = 0;
  let isRunning = true;
  const wrong: unknown[] = [];
  const clients = Array.from({ length: 32 }, async () => {
    while (isRunning) {
      const answer = await client.ask(reqId).catch((error: unknown) => error);
      if ((answer as { json?: string }).json !== json) wrong.push(answer);
      answered++;
    }
  });
  for (let restart = 0; restart < 3; restart++) {
    const enough = answered + 500;
    await expect.poll(() => answered, { timeout: 20_000 }).toBeGreaterThanOrEqual(enough);
    const next = started.use(await start());
    balancer.redirect(next.url);
    current.kill("SIGTERM");
    expect(await current.exit).toMatchObject({ code: 0, stderr: "" });
    current = next;
  }
  isRunning = false;
  await Promise.all(clients);
  client.close();
  expect(wrong).toEqual([]);
});
