import { once } from "node:events";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";
import { setImmediate as turn } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { whenAborted } from "../../src/status/abort.ts";
import { callerGone } from "../../src/status/call.ts";
import { goingAway } from "../../src/status/errors.ts";
import { createEndlessWatch, watches } from "../support/endless-watch.ts";
import { serveEndpoints } from "../support/serve.ts";

const connections = 5;
const streamsEach = 50;
const [{ asked }] = watches as [(typeof watches)[number]];

interface Ended {
  readonly status: string | undefined;
  readonly resetCode: number | undefined;
}

/** Opens a watch. @returns how it ends, once its first message has come. */
async function openWatch(session: ClientHttp2Session): Promise<{ ended: Promise<Ended> }> {
  const stream = session.request({ ":method": "POST", ":path": asked.path, ...asked.headers });
  let status: string | undefined;
  stream.on("trailers", (trailers: IncomingHttpHeaders) => {
    status = trailers["grpc-status"] as string;
  });
  stream.on("error", () => {}).end(asked.body);
  const ended = new Promise<Ended>((resolve) =>
    stream.once("close", () => resolve({ status, resetCode: stream.rstCode })),
  );
  await once(stream, "data");
  stream.resume();
  return { ended };
}

async function openWatches(url: string) {
  const sessions = Array.from({ length: connections }, () => connect(url).on("error", () => {}));
  const goaways = sessions.map((session) => once(session, "goaway"));
  const perSession = sessions.flatMap((session) => Array.from({ length: streamsEach }, () => session));
  const opened = await Promise.all(perSession.map(openWatch));
  return { goaways: Promise.all(goaways), ended: Promise.all(opened.map(({ ended }) => ended)) };
}

describe.for([
  { name: "fast path", withFastPath: true },
  { name: "Connect's adapter", withFastPath: false },
])("a listener that drains: $name", ({ withFastPath }) => {
  test("streams go on after GOAWAY, and each that ends with an error gets its trailers", async () => {
    const watch = createEndlessWatch(1, (call) => whenAborted(call.signal));
    const options = { withFastPath, shutdownTimeout: 20_000 };
    const service = await serveEndpoints([watch.endpoint], options);
    const { goaways, ended } = await openWatches(service.url);
    const drained = service[Symbol.asyncDispose]();
    await goaways;
    expect(watch.reasons).toEqual([]);
    for (const [index, call] of watch.calls.entries()) {
      call.cancel(goingAway);
      if (index % 10 === 0) await turn();
    }
    expect(new Set((await ended).map((end) => JSON.stringify(end)))).toEqual(
      new Set([JSON.stringify({ status: String(Code.Unavailable), resetCode: 0 })]),
    );
    await drained;
    expect(watch.open).toBe(0);
  });

  test("what is left after SHUTDOWN_TIMEOUT is cut", async () => {
    const watch = createEndlessWatch(1, (call) => whenAborted(call.signal));
    const service = await serveEndpoints([watch.endpoint], { withFastPath, shutdownTimeout: 100 });
    const { goaways, ended } = await openWatches(service.url);
    const drained = service[Symbol.asyncDispose]();
    await goaways;
    await drained;
    expect((await ended).filter(({ status }) => status !== undefined)).toEqual([]);
    await expect.poll(() => watch.open, { interval: 5 }).toBe(0);
    expect(new Set(watch.reasons)).toEqual(new Set([callerGone]));
  });
});
