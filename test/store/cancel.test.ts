import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, test } from "vitest";
import { cancelStatement } from "../../src/store/connections/cancel.ts";
import { Connection, connectionConfig } from "../../src/store/connections/connection.ts";
import { createDatabase } from "../support/database.ts";

function clientOf(url: string): Connection {
  return new Connection(connectionConfig(url, 1_000));
}

test("what runs is cancelled, and the connection is as good as before", async () => {
  await using database = await createDatabase();
  const client = clientOf(database.url);
  await new Promise((opened) => client.connect(opened));
  const sleeping = expect(client.query("select pg_sleep(30)")).rejects.toMatchObject({ code: "57014" });
  const asleep = "select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()";
  await expect.poll(async () => (await database.pool.query(asleep)).rowCount).toBe(1);
  await cancelStatement(client, 5_000);
  await sleeping;
  expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  await client.end();
});

test.for([
  { name: "says nothing", answer: undefined },
  { name: "talks nonsense", answer: Buffer.from("R\0\0\0\x08\x7f\x7f\x7f\x7f") },
])("a server that $name is left alone in time", async ({ answer }) => {
  const server = createServer((socket) => {
    socket.once("data", (request: Buffer) => {
      received.resolve(request);
      if (answer !== undefined) socket.write(answer);
    });
    socket.on("close", closed.resolve);
  });
  const received = Promise.withResolvers<Buffer>();
  const closed = Promise.withResolvers<boolean>();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = clientOf(`postgres://127.0.0.1:${port}?sslmode=disable`);
  await cancelStatement(Object.assign(client, { processID: 42, secretKey: -7 }), 200);
  // CancelRequest: its length, its code, the pid and the key.
  expect((await received.promise).toString("hex")).toBe(`00000010${"04d2162e"}${"0000002a"}${"fffffff9"}`);
  await closed.promise;
  server.close();
});
