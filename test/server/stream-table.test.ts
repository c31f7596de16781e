import { once } from "node:events";
import { connect, createServer, type Http2Session, type Http2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { installStreamTable, PendingStreams, StreamTable } from "../../src/server/http2/stream-table.ts";

const streamOf = (id: number) => ({ id }) as Http2Stream;

/** Streams begin, with ever greater ids of either parity, end in any order, and are looked for. */
const step = fc.oneof(
  fc.record({ begins: fc.integer({ min: 1, max: 400 }) }),
  fc.record({ ends: fc.nat() }),
  fc.record({ soughtAfter: fc.nat(3_000) }),
);

test("the table answers as a Map does, whatever begins and ends", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 600 }), (steps) => {
      const table = new StreamTable();
      const map = new Map<number, Http2Stream>();
      let last = 0;
      for (const one of steps) {
        if ("begins" in one) {
          last += one.begins;
          table.set(last, streamOf(last));
          map.set(last, table.get(last) as Http2Stream);
        } else if ("ends" in one) {
          const ids = [...map.keys()];
          const id = ids[one.ends % (ids.length + 1)] ?? one.ends;
          expect(table.delete(id)).toBe(map.delete(id));
        } else {
          expect(table.get(one.soughtAfter)).toBe(map.get(one.soughtAfter));
        }
        expect(table.size).toBe(map.size);
      }
      const visited: (number | undefined)[] = [];
      table.forEach(({ id }) => void visited.push(id));
      expect(visited.toSorted()).toEqual([...map.keys()].toSorted());
      for (const [id, stream] of map) expect(table.get(id)).toBe(stream);
    }),
    { numRuns: 500 },
  );
});

test("streams without an id come and go", () => {
  const pending = new PendingStreams();
  const [first, second] = [streamOf(1), streamOf(2)];
  pending.add(first).add(second);
  expect(pending.size).toBe(2);
  expect([pending.delete(first), pending.delete(first)]).toEqual([true, false]);
  const left: Http2Stream[] = [];
  pending.forEach((stream) => void left.push(stream));
  expect(left).toEqual([second]);
});

test("this Node lets a session keep its streams so, and closes it once the last of them has ended", async () => {
  const server = createServer();
  const kept: boolean[] = [];
  const sessions: Http2Session[] = [];
  server.on("session", (session) => {
    kept.push(installStreamTable(session));
    sessions.push(session);
  });
  server.on("stream", (stream) => stream.on("end", () => stream.end("done")).resume());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const streams = Array.from({ length: 90 }, () =>
    client.request({ ":method": "POST" }, { endStream: false }),
  );
  for (const stream of streams) stream.resume();
  await once(streams.at(-1) as Http2Stream, "ready");
  for (const stream of streams.slice(1)) stream.end();
  await Promise.all(streams.slice(1).map((stream) => once(stream, "close")));

  const [session] = sessions as [Http2Session];
  session.close();
  const closed = once(session, "close");
  expect(session.destroyed).toBe(false);
  streams[0]?.end();
  await closed;
  expect(kept).toEqual([true]);
  client.close();
  server.close();
  await once(server, "close");
});

test("a session that keeps them in another way is left as it is", () => {
  expect(installStreamTable({} as Http2Session)).toBe(false);
  const session = { [Symbol("state")]: { streams: [1], pendingStreams: new Set() } };
  expect(installStreamTable(session as unknown as Http2Session)).toBe(false);
  expect(Object.getOwnPropertySymbols(session).length).toBe(1);
});
