import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";

let database: TestDatabase;
let app: TestApp;

beforeAll(async () => {
  database = await createDatabase();
  app = await startTestApp({ DATABASE_URL: database.url });
});

afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const chunked = "Host: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
const rpc = "/gomemory.status.v1.StatusService/GetStatus";

test.for([
  { name: "no request", bytes: "nonsense\r\n\r\n", status: 400, title: "Bad Request" },
  {
    name: "a malformed header",
    bytes: "GET / HTTP/1.1\r\nHost x\r\n\r\n",
    status: 400,
    title: "Bad Request",
  },
  {
    name: "headers that are too large",
    bytes: `GET / HTTP/1.1\r\nHost: x\r\nX-Large: ${"x".repeat(16_384)}`,
    status: 431,
    title: "Request Header Fields Too Large",
  },
  {
    name: "headers that are too many",
    bytes: `GET / HTTP/1.1\r\nHost: x\r\n${"X: 1\r\n".repeat(1_025)}`,
    status: 431,
    title: "Request Header Fields Too Large",
  },
  {
    name: "half a chunk, and nonsense",
    bytes: `POST ${rpc} HTTP/1.1\r\n${chunked}2\r\n{}nonsense`,
    status: 400,
    title: "Bad Request",
  },
])("what Node cannot read is answered as every mistake, with the date: $name", async ({
  bytes,
  status,
  title,
}) => {
  const socket = connect(app.port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(bytes);
  const [head = "", body] = (await text(socket)).split("\r\n\r\n");
  expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} ${title}\r\n`));
  expect(head).toMatch(/\r\nConnection: close\r\n/);
  expect(Math.abs(Date.parse(/\r\nDate: (.*)\r\n/.exec(head)?.[1] ?? "") - Date.now())).toBeLessThan(5_000);
  expect(body).toBe(JSON.stringify({ Error: title, Message: title, Status: status }));
});

test("what follows an answered request is answered behind it", async () => {
  const socket = connect(app.port, "127.0.0.1");
  socket.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  await once(socket, "readable");
  socket.write("nonsense\r\n\r\n");
  expect(await text(socket)).toMatch(/"alive"}HTTP\/1\.1 400 Bad Request\r\n/);
});
