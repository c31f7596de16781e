import { randomUUID } from "node:crypto";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { getStatusCalls, type RawCall } from "../support/calls.ts";
import { createAuthority } from "../support/certificates.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { lockTable } from "../support/lock.ts";
import { openPeer } from "../support/peer.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

let database: TestDatabase;
let folder: Folder;
let apps: { readonly plain: TestApp; readonly tls: TestApp };
let ca: string;

beforeAll(async () => {
  database = await createDatabase();
  folder = await createFolder();
  const authority = await createAuthority("Tests of half-closed connections");
  ca = authority.cert;
  const server = await authority.issue("server", "localhost", "127.0.0.1");
  const env = { DATABASE_URL: database.url, LOG_REQUESTS: "true", REQUEST_TIMEOUT: "1h" };
  const tls = {
    TLS_CERT: await folder.write("server.crt", server.cert),
    TLS_KEY: await folder.write("server.key", server.key),
  };
  apps = { plain: await startTestApp(env), tls: await startTestApp({ ...env, ...tls }) };
});

afterAll(async () => {
  await apps.plain[Symbol.asyncDispose]();
  await apps.tls[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** The request as it goes over HTTP/1.1. */
function bytesOf({ asked: { method, path, headers = {}, body = Buffer.alloc(0) } }: RawCall): Buffer {
  const lines = Object.entries({ Host: "localhost", ...headers }).map(([name, value]) => `${name}: ${value}`);
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`), body]);
}

function open(over: "plain" | "tls") {
  const options = { host: "127.0.0.1", port: apps[over].port, noDelay: true };
  return over === "tls" ? connectTls({ ...options, ca }) : connect(options);
}

const names = getStatusCalls("")
  .filter(({ version }) => version === "1.1")
  .map(({ name }) => name);

function callNamed(name: string, reqId: string): RawCall {
  return getStatusCalls(reqId).find((call) => call.name === name) as RawCall;
}

describe.for([
  "plain",
  "tls",
] as const)("a caller that ends its sending side behind its request, %s", (over) => {
  test.for(names)("gets its answer, and the connection is closed: %s", async (name) => {
    const app = apps[over];
    const reqId = await insertJob(database.db, { status: "failure", error: "timeout in half" });
    const logged = app.logs.length;
    await using lock = await lockTable(database);
    const socket = open(over);
    socket.end(bytesOf(callNamed(name, reqId)));
    await lock.blocks(1);
    await lock[Symbol.asyncDispose]();
    const answer = (await buffer(socket)).toString("latin1");
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).toContain("timeout in half");
    const lines = () => app.logs.slice(logged).filter(({ msg }) => msg === "call");
    await expect.poll(lines, { interval: 5 }).toEqual([expect.objectContaining({ reqId, code: "OK" })]);
  });

  test("gets all of its answers, of requests that it pipelined", async () => {
    const reqIds = await Promise.all(
      ["first", "second"].map((error) => insertJob(database.db, { status: "failure", error })),
    );
    await using lock = await lockTable(database);
    const socket = open(over);
    const [rest] = names as [string];
    socket.end(Buffer.concat(reqIds.map((reqId) => bytesOf(callNamed(rest, reqId)))));
    await lock.blocks(1);
    await lock[Symbol.asyncDispose]();
    const answers = (await buffer(socket)).toString("latin1");
    const bodies = answers.split("HTTP/1.1 200 OK").map((one) => one.split("\r\n\r\n")[1]);
    const wanted = await Promise.all(reqIds.map((reqId) => documentedJson(database.db, reqId)));
    expect(bodies).toEqual([undefined, ...wanted]);
  });

  test("gets its answer when its end arrives after its request was read", async () => {
    const reqId = await insertJob(database.db);
    await using lock = await lockTable(database);
    const socket = open(over);
    const [rest] = names as [string];
    socket.write(bytesOf(callNamed(rest, reqId)));
    await lock.blocks(1);
    socket.end();
    // The service has read the end once it has read what was sent behind it, on a connection of its own.
    const other = open(over);
    other.end(bytesOf({ ...callNamed(rest, reqId), asked: { method: "GET", path: "/healthz" } }));
    expect((await buffer(other)).toString("latin1")).toMatch(/^HTTP\/1\.1 200 /);
    expect(await lock.blocks(1)).toHaveLength(1);
    await lock[Symbol.asyncDispose]();
    expect((await buffer(socket)).toString("latin1")).toContain(await documentedJson(database.db, reqId));
  });
});

describe("a caller that ends its sending side", () => {
  test("while its connection is idle: the connection is closed", async () => {
    using peer = await openPeer(apps.plain.port);
    peer.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    await new Promise((resolve) => peer.socket.once("data", resolve));
    peer.socket.end();
    await peer.closed;
  });

  test("in the middle of its request gets 400", async () => {
    using peer = await openPeer(apps.plain.port);
    peer.socket.end(
      "POST /gomemory.status.v1.StatusService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    );
    expect((await peer.closed).toString("latin1")).toMatch(/^HTTP\/1\.1 400 /);
  });

  test("and closes the connection before its answer: the call counts as answered, without an error", async () => {
    const app = apps.plain;
    const reqId = randomUUID();
    await using lock = await lockTable(database);
    using peer = await openPeer(app.port);
    peer.socket.end(bytesOf(callNamed(names[0] as string, reqId)));
    await lock.blocks(1);
    peer.socket.destroy();
    await lock[Symbol.asyncDispose]();
    const lines = () => app.logs.filter((line) => line.reqId === reqId);
    await expect.poll(lines, { interval: 5 }).toEqual([expect.objectContaining({ code: "NOT_FOUND" })]);
    expect(app.logs.filter(({ level }) => level === "error")).toEqual([]);
  });
});
