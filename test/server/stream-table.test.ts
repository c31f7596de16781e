import { once } from "node:events";
import { connect, createServer, type Http2Session, type Http2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { installStreamTable, PendingStreams, StreamTable } from "../../src/server/http2/stream-table.ts";

const streamOf = (id: number) => ({ id }) as Http2Stream;

/** Streams begin, with increasing ids of either parity, end in any order, and are looked up. */
const step = fc.oneof(
  fc.record({ begins: fc.integer({ min: 1, max: 400 }) }),
  fc.record({ ends: fc.nat() }),
  fc.record({ lookedUp: fc.nat(3_000) }),
);

test("the table behaves as a Map does, for random sequences of streams", () => {
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
          expect(table.get(one.lookedUp)).toBe(map.get(one.lookedUp));
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

test("streams without an id are added and removed", () => {
  const pending = new PendingStreams();
  const [first, second] = [streamOf(1), streamOf(2)];
  pending.add(first).add(second);
  expect(pending.size).toBe(2);
  expect([pending.delete(first), pending.delete(first)]).toEqual([true, false]);
  const left: Http2Stream[] = [];
  pending.forEach((stream) => void left.push(stream));
  expect(left).toEqual([second]);
});

test("a session that keeps its streams in the table closes once the last of them has ended", async () => {
  const server = createServer();
  const tables: StreamTable[] = [];
  const sessions: Http2Session[] = [];
  server.on("session", (session) => {
    tables.push(installStreamTable(session));
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
  expect(tables[0]?.get(1)).toBeDefined();
  streams[0]?.end();
  await closed;
  expect(tables.map(({ size }) => size)).toEqual([0]);
  client.close();
  server.close();
  await once(server, "close");
});
