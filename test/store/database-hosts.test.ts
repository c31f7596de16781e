import type { LookupAddress, LookupAllOptions } from "node:dns";
import dns from "node:dns/promises";
import { once } from "node:events";
import { syncBuiltinESMExports } from "node:module";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { cancelStatement } from "../../src/store/connections/cancel.ts";
import type { Connections } from "../../src/store/connections/connections.ts";
import { freePort } from "../../src/store/embedded/embedded.ts";
import { migrate } from "../../src/store/schema/migrate.ts";
import { startTestApp } from "../support/app.ts";
import { serverMessages, startFakePostgres } from "../support/fake-postgres.ts";
import { createFolder } from "../support/folder.ts";
import { startProxy } from "../support/proxy.ts";
import { type Primary, type Standby, startPrimary } from "../support/standby.ts";
import { openTestConnections } from "../support/store.ts";

// A name with two addresses, of which the second one leads to the servers of this test.
const { lookup } = dns;
const twoAddresses = ["127.0.0.2", "127.0.0.1"].map((address) => ({ address, family: 4 }));

/** As dns.promises.lookup does, but for two names that no resolver knows. */
function lookupInTest(name: string, options: LookupAllOptions): Promise<LookupAddress[]> {
  if (name === "slow.invalid") return new Promise(() => {});
  return name === "two.invalid" ? Promise.resolve(twoAddresses) : lookup(name, options);
}

beforeAll(() => {
  Object.assign(dns, { lookup: lookupInTest });
  // Named imports of the module follow.
  syncBuiltinESMExports();
});
afterAll(() => {
  Object.assign(dns, { lookup });
  syncBuiltinESMExports();
});

let primary: Primary;
let standby: Standby;

beforeAll(async () => {
  primary = await startPrimary();
  standby = await primary.addStandby();
});

afterAll(() => primary[Symbol.asyncDispose]());

const portOf = (server: { url: string }) => Number(new URL(server.url).port);

/** A URL with these hosts, all of them on the loopback interface unless they are named. */
function urlOf(hosts: readonly (number | string)[], parameters: Record<string, string> = {}): string {
  const { username, password } = new URL(primary.url);
  const addresses = hosts.map((host) => (typeof host === "number" ? `127.0.0.1:${host}` : host));
  const query = Object.entries({ sslmode: "disable", ...parameters }).map(
    ([name, value]) => `${name}=${encodeURIComponent(value)}`,
  );
  return `postgres://${username}:${password}@${addresses.join(",")}/postgres?${query.join("&")}`;
}

function open(url: string, size = 1): Connections {
  return openTestConnections(url, size);
}

/** @returns where a new connection leads to, or its error. */
async function reached(connections: Connections): Promise<"primary" | "standby" | string> {
  try {
    const connection = await connections.take();
    const { rows } = await connection.query("select pg_is_in_recovery() as standby");
    connection.close();
    connection.release();
    return rows[0].standby ? "standby" : "primary";
  } catch (error) {
    return (error as Error).message;
  }
}

async function reachedBy(url: string): Promise<string> {
  await using connections = open(url);
  return await reached(connections);
}

describe("target_session_attrs", () => {
  const both = () => [portOf(standby), portOf(primary)];
  const reversed = () => both().toReversed();
  const one = () => [portOf(primary)];
  const cases = [
    { attrs: "any", hosts: both, leads: "standby" },
    { attrs: "any", hosts: reversed, leads: "primary" },
    { attrs: "read-write", hosts: both, leads: "primary" },
    { attrs: "read-only", hosts: reversed, leads: "standby" },
    { attrs: "primary", hosts: both, leads: "primary" },
    { attrs: "standby", hosts: reversed, leads: "standby" },
    { attrs: "prefer-standby", hosts: reversed, leads: "standby" },
    { attrs: "prefer-standby", hosts: one, leads: "primary" },
    { attrs: "standby", hosts: one, leads: /^127\.0\.0\.1:\d+ is passed over: it is no standby/ },
    { attrs: "read-only", hosts: one, leads: /is passed over: the session is not read-only/ },
    {
      attrs: "read-write",
      hosts: () => [portOf(standby)],
      leads: /is passed over: the session is read-only/,
    },
    { attrs: "primary", hosts: () => [portOf(standby)], leads: /is passed over: it is a standby/ },
  ];
  test.for(cases)("$attrs leads to $leads", async ({ attrs, hosts, leads }) => {
    expect(await reachedBy(urlOf(hosts(), { target_session_attrs: attrs }))).toMatch(leads);
  });

  test.for(cases)("$attrs leads to $leads, through poolers that do not report what they lead to", async ({
    attrs,
    hosts,
    leads,
  }) => {
    await using proxies = new AsyncDisposableStack();
    const ports = await Promise.all(
      hosts().map(async (port) => {
        const proxy = proxies.use(await startProxy(urlOf([port])));
        proxy.disturb({
          corrupt(chunk) {
            const at = chunk.indexOf("in_hot_standby\0");
            if (at >= 0) chunk.write("IN", at);
          },
        });
        return portOf(proxy);
      }),
    );
    expect(await reachedBy(urlOf(ports, { target_session_attrs: attrs }))).toMatch(leads);
  });

  test("read-write: a session that becomes read-only is not used again", async () => {
    await using connections = open(urlOf([portOf(primary)], { target_session_attrs: "read-write" }));
    const connection = await connections.take();
    await connection.query("alter system set default_transaction_read_only = on");
    await connection.query("select pg_reload_conf()");
    try {
      await expect
        .poll(async () => {
          await connection.query("select 1");
          return !connection.isUsable;
        })
        .toBe(true);
    } finally {
      await connection.query("set default_transaction_read_only = off");
      await connection.query("alter system reset default_transaction_read_only");
      await connection.query("select pg_reload_conf()");
      connection.release();
    }
  });
});

describe("a host is passed over", () => {
  test("when nothing listens there", async () => {
    expect(await reachedBy(urlOf([await freePort(), portOf(standby)]))).toBe("standby");
  });

  test("when it does not answer within the connect timeout", async () => {
    await using unresponsive = await startFakePostgres([]);
    expect(await reachedBy(urlOf([unresponsive.port, portOf(standby)]))).toBe("standby");
  });

  test("when its name cannot be resolved", async () => {
    expect(await reachedBy(urlOf(["nowhere.invalid", portOf(standby)]))).toBe("standby");
    const parameters = { target_session_attrs: "standby" };
    expect(await reachedBy(urlOf(["nowhere.invalid", portOf(standby)], parameters))).toBe("standby");
  });

  test("when it is starting or stopping", async () => {
    await using starting = await startFakePostgres([serverMessages.error("57P03")]);
    expect(await reachedBy(urlOf([starting.port, portOf(standby)]))).toBe("standby");
  });

  test("and then comes last for a while, so that it costs its time once", async () => {
    await using unresponsive = await startFakePostgres([]);
    await using connections = open(urlOf([unresponsive.port, portOf(standby)]));
    for (let time = 0; time < 3; time++) expect(await reached(connections)).toBe("standby");
    expect(unresponsive.clients).toBe(1);
  });

  test("but not when it refuses the password", async () => {
    await using refusing = await startFakePostgres([serverMessages.error("28P01")]);
    await using other = await startFakePostgres([]);
    expect(await reachedBy(urlOf([refusing.port, other.port]))).toBe("no");
    await using connections = open(urlOf([refusing.port, other.port], { sslmode: "prefer" }));
    for (let time = 0; time < 3; time++) expect(await reached(connections)).not.toBe("standby");
    expect(other.clients).toBe(0);
  });

  test("and when all are, the error is the last one's", async () => {
    const [one, other] = [await freePort(), await freePort()];
    expect(await reachedBy(urlOf([one, other]))).toMatch(/^connect ECONNREFUSED 127\.0\.0\.1:\d+$/);
  });
});

test("a name's addresses are tried one after the other, where not just any of them will do", async () => {
  const hosts = [`two.invalid:${portOf(primary)}`];
  expect(await reachedBy(urlOf(hosts, { target_session_attrs: "read-write" }))).toBe("primary");
});

test("a name that the resolver never answers for does not keep the others from being tried", async () => {
  const parameters = { target_session_attrs: "read-write" };
  expect(await reachedBy(urlOf(["slow.invalid", portOf(primary)], parameters))).toBe("primary");
  expect(await reachedBy(urlOf(["slow.invalid"], parameters))).toMatch(/could not be resolved in time/);
});

test("load_balance_hosts=random leads to all of the hosts", async () => {
  await using connections = open(urlOf([portOf(primary), portOf(standby)], { load_balance_hosts: "random" }));
  const seen = new Set<string>();
  // That all of a hundred are the same happens once in 2^99 runs.
  for (let time = 0; time < 100 && seen.size < 2; time++) seen.add(await reached(connections));
  expect(seen).toEqual(new Set(["primary", "standby"]));
});

test("a Unix socket, in either form", async () => {
  await using folder = await createFolder();
  const server = createServer((client) => {
    const database = connect(primary.port, "127.0.0.1");
    client.pipe(database).pipe(client);
    for (const socket of [client, database]) socket.on("error", () => {});
  });
  server.listen(join(folder.path, ".s.PGSQL.5432"));
  await once(server, "listening");
  const { username, password } = new URL(primary.url);
  const path = encodeURIComponent(folder.path);
  // TLS is not for sockets, whatever sslmode says.
  for (const url of [`@/postgres?host=${path}&sslmode=verify-full`, `@${path}/postgres`]) {
    expect(await reachedBy(`postgres://${username}:${password}${url}`)).toBe("primary");
  }
  await once(server.close(), "close");
});

test("TCP keepalives are as in the URL", async () => {
  const calls: unknown[][] = [];
  const { Socket } = await import("node:net");
  const spy = vi.spyOn(Socket.prototype, "setKeepAlive").mockImplementation(function (this: object, ...args) {
    // Other tests of this process may have connections, too.
    if ((this as InstanceType<typeof Socket>).remotePort === portOf(primary)) calls.push(args);
    return this as never;
  });
  const parameters = { keepalives_idle: "2", keepalives_interval: "3", keepalives_count: "4" };
  expect(await reachedBy(urlOf([portOf(primary)], parameters))).toBe("primary");
  expect(await reachedBy(urlOf([portOf(primary)], { keepalives: "0" }))).toBe("primary");
  spy.mockRestore();
  expect(calls).toEqual([[{ enable: true, initialDelay: 2_000, interval: 3_000, count: 4 }]]);
});

test("a statement is cancelled on the host that it runs on", async () => {
  await using first = await startProxy(urlOf([portOf(standby)]));
  await using second = await startProxy(urlOf([portOf(primary)]));
  first.cut();
  await using connections = open(urlOf([portOf(first), portOf(second)]));
  const connection = await connections.take();
  await first.mend();
  const sleeping = expect(connection.query("select pg_sleep(30)")).rejects.toMatchObject({ code: "57014" });
  await using observer = open(primary.url);
  const asleep = await observer.take();
  await expect
    .poll(
      async () => (await asleep.query("select from pg_stat_activity where wait_event = 'PgSleep'")).rowCount,
    )
    .toBe(1);
  asleep.release();
  await cancelStatement(connection, 5_000);
  await sleeping;
  connection.release();
});

// The last one: it leaves the servers as they are then.
test("the service goes on with the standby that is promoted when the primary is unavailable", async () => {
  await using proxy = await startProxy(primary.url);
  const url = urlOf([portOf(proxy), portOf(standby)], { target_session_attrs: "read-write" });
  await using migrator = open(primary.url, 2);
  await migrate(migrator.db);
  const leader = await migrator.take();
  const { rows } = await leader.query<{ lsn: string }>("select pg_current_wal_lsn() as lsn");
  leader.release();
  await using replayed = open(standby.url);
  const follower = await replayed.take();
  await expect
    .poll(
      async () => (await follower.query(`select pg_last_wal_replay_lsn() >= '${rows[0]?.lsn}' as done`)).rows,
    )
    .toEqual([{ done: true }]);
  follower.release();
  await using app = await startTestApp({ DATABASE_URL: url });
  const ready = async () => (await fetch(`${app.url}/readyz`)).status;
  expect(await ready()).toBe(200);
  proxy.cut();
  await expect.poll(ready, { interval: 50, timeout: 10_000 }).toBe(503);
  await standby.execute("select pg_promote()");
  await expect.poll(ready, { interval: 50, timeout: 20_000 }).toBe(200);
  const answer = await fetch(`${app.url}/get_status/${crypto.randomUUID()}`);
  expect(answer.headers.get("error-reason")).toBe("STATUS_NOT_FOUND");
});
