import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, TLSSocket } from "node:tls";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EmbeddedPostgres, startEmbedded } from "../../src/store/embedded/embedded.ts";
import { type Certificate, createAuthority } from "../support/certificates.ts";
import { serverMessages, startFakePostgres } from "../support/fake-postgres.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { offerTls } from "../support/postgres-tls.ts";
import { openTestConnections } from "../support/store.ts";

let folder: Folder;
let directory: string;
let postgres: EmbeddedPostgres;
let ofUnknownCa: Certificate;

const password = "hunter2";

/** Roles by how pg_hba.conf has them authenticate, or not at all. */
const rules = `
host    all  cleartext  all  password
host    all  hashed     all  md5
host    all  proven     all  scram-sha-256
host    all  trusted    all  trust
hostssl all  secretive  all  scram-sha-256
host    all  secretive  all  reject
hostssl all  exposed    all  reject
host    all  exposed    all  scram-sha-256
`;

beforeAll(async () => {
  folder = await createFolder();
  directory = await mkdtemp(join(tmpdir(), "gomemory-status-test-"));
  postgres = await startEmbedded({ directory, settings: { fsync: "off" } });
  const file = join(postgres.dataDirectory, "pg_hba.conf");
  await writeFile(file, `${rules}${await readFile(file, "utf8")}`);
  const admin = new pg.Client({ connectionString: postgres.url });
  await admin.connect();
  for (const role of ["cleartext", "proven", "trusted", "secretive", "exposed"]) {
    await admin.query(`create role ${role} login password '${password}'`);
  }
  await admin.query(`set password_encryption = 'md5'; create role hashed login password '${password}'`);
  const authority = await createAuthority("Tests of authentication");
  await offerTls(postgres.dataDirectory, authority, "localhost", (statement) => admin.query(statement));
  await admin.end();
  ofUnknownCa = await (await createAuthority("A ofUnknownCa")).issue("database", "localhost");
});

afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
  await folder[Symbol.asyncDispose]();
});

/** @returns whether the connection is encrypted; why there is none. */
async function connectTo(url: string): Promise<"encrypted" | "plain" | string> {
  await using connections = openTestConnections(url, 1, 5_000);
  try {
    const connection = await connections.take();
    try {
      const { rows } = await connection.query("select ssl from pg_stat_ssl where pid = pg_backend_pid()");
      return rows[0].ssl ? "encrypted" : "plain";
    } finally {
      connection.release();
    }
  } catch (error) {
    return (error as Error).message;
  }
}

const urlOf = (role: string, query: string, port = postgres.port) =>
  `postgres://${role}:${password}@localhost:${port}/postgres?hostaddr=127.0.0.1&${query}`;

describe("a server that asks for the password in a way that is not allowed is sent nothing", () => {
  const refusals = [
    {
      query: "require_auth=scram-sha-256",
      asks: serverMessages.cleartext,
      why: /asks for password, .*require_auth/,
    },
    { query: "require_auth=scram-sha-256", asks: serverMessages.md5, why: /asks for md5, .*require_auth/ },
    {
      query: "require_auth=!password,!md5",
      asks: serverMessages.cleartext,
      why: /asks for password, .*require_auth/,
    },
    { query: "require_auth=none", asks: serverMessages.cleartext, why: /asks for password, .*require_auth/ },
    {
      query: "require_auth=password",
      asks: serverMessages.sasl("SCRAM-SHA-256"),
      why: /asks for scram-sha-256/,
    },
    { query: "require_auth=scram-sha-256", asks: serverMessages.sasl("OAUTHBEARER"), why: /asks for oauth/ },
    { query: "require_auth=scram-sha-256", asks: serverMessages.welcome, why: /without a password/ },
    { query: "require_auth=!none", asks: serverMessages.welcome, why: /without a password/ },
    {
      query: "channel_binding=require",
      asks: serverMessages.cleartext,
      why: /asks for password, .*channel_binding/,
    },
    { query: "channel_binding=require", asks: serverMessages.md5, why: /asks for md5, .*channel_binding/ },
    { query: "channel_binding=require", asks: serverMessages.welcome, why: /has not proven/ },
    {
      query: "channel_binding=require",
      asks: serverMessages.sasl("SCRAM-SHA-256"),
      why: /channel_binding=require wants/,
    },
  ];
  for (const tls of [true, false]) {
    test.for(refusals)(`${tls ? "with" : "without"} TLS: $query, $why`, async ({ query, asks, why }) => {
      await using server = await startFakePostgres([asks], tls ? ofUnknownCa : undefined);
      const url = urlOf("app", `${tls ? "sslmode=require&" : "sslmode=allow&"}${query}`, server.port);
      expect(await connectTo(url)).toMatch(why);
      await server.disconnected;
      expect(server.received).toBe("");
    });
  }

  test("one that ends the SCRAM exchange before it has proven that it knows the password is refused", async () => {
    for (const query of ["require_auth=scram-sha-256", "channel_binding=require"]) {
      const offer = serverMessages.sasl("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS");
      await using server = await startFakePostgres([offer, serverMessages.welcome], ofUnknownCa);
      const url = urlOf("app", `sslmode=require&${query}`, server.port);
      expect(await connectTo(url)).toMatch(/without a password|has not proven/);
    }
  });

  test("without either parameter, it is sent the password, as by psql", async () => {
    await using server = await startFakePostgres([serverMessages.cleartext]);
    const connecting = connectTo(urlOf("app", "sslmode=disable&connect_timeout=1", server.port));
    await expect.poll(() => server.received).toContain(password);
    await server[Symbol.asyncDispose]();
    await connecting;
  });

  test("where there is no password, the error tells that", async () => {
    await using server = await startFakePostgres([serverMessages.cleartext]);
    const url = `postgres://app@127.0.0.1:${server.port}?sslmode=disable`;
    expect(await connectTo(url)).toBe("the server asks for a password, and none is given");
    await server.disconnected;
    // A Terminate message at most.
    expect(["", "X\0\0\0\x04"]).toContain(server.received);
  });
});

describe("PostgreSQL", () => {
  const allowed = "encrypted";
  test.for([
    { role: "cleartext", require: "password", outcome: allowed },
    { role: "hashed", require: "md5", outcome: allowed },
    { role: "proven", require: "scram-sha-256", outcome: allowed },
    { role: "proven", require: "md5,scram-sha-256", outcome: allowed },
    { role: "proven", require: "!password,!none", outcome: allowed },
    { role: "trusted", require: "none", outcome: allowed },
    { role: "trusted", require: "none,scram-sha-256", outcome: allowed },
    { role: "cleartext", require: "scram-sha-256", outcome: /asks for password/ },
    { role: "hashed", require: "scram-sha-256", outcome: /asks for md5/ },
    { role: "trusted", require: "scram-sha-256", outcome: /without a password/ },
    { role: "proven", require: "none", outcome: /asks for scram-sha-256/ },
  ])("require_auth=$require, $role: $outcome", async ({ role, require, outcome }) => {
    expect(await connectTo(urlOf(role, `require_auth=${require}`))).toMatch(outcome);
  });

  test.for([
    { role: "proven", binding: "require", outcome: allowed },
    { role: "proven", binding: "prefer", outcome: allowed },
    { role: "proven", binding: "disable", outcome: allowed },
    { role: "cleartext", binding: "prefer", outcome: allowed },
    { role: "cleartext", binding: "require", outcome: /asks for password/ },
    { role: "hashed", binding: "require", outcome: /asks for md5/ },
    { role: "trusted", binding: "require", outcome: /has not proven/ },
  ])("channel_binding=$binding, $role: $outcome", async ({ role, binding, outcome }) => {
    expect(await connectTo(urlOf(role, `channel_binding=${binding}`))).toMatch(outcome);
  });

  test.for([
    { role: "secretive", sslmode: "disable", outcome: /rejects connection|no encryption/ },
    { role: "secretive", sslmode: "allow", outcome: "encrypted" },
    { role: "secretive", sslmode: "prefer", outcome: "encrypted" },
    { role: "exposed", sslmode: "allow", outcome: "plain" },
    { role: "exposed", sslmode: "prefer", outcome: "plain" },
    { role: "exposed", sslmode: "require", outcome: /rejects connection/ },
    { role: "proven", sslmode: "allow", outcome: "plain" },
    { role: "proven", sslmode: "disable", outcome: "plain" },
    { role: "proven", sslmode: "require&sslnegotiation=direct", outcome: "encrypted" },
  ])("sslmode=$sslmode, $role: $outcome", async ({ role, sslmode, outcome }) => {
    expect(await connectTo(urlOf(role, `sslmode=${sslmode}`))).toMatch(outcome);
  });

  test("sslmode=prefer does not hide a wrong password", async () => {
    const url = urlOf("proven", "sslmode=prefer").replace(password, "wrong");
    expect(await connectTo(url)).toBe('password authentication failed for user "proven"');
  });

  test("a man in the middle with a certificate of its own is refused", async () => {
    await using between = await standBetween(postgres.port, ofUnknownCa);
    const url = (binding: string) =>
      urlOf("proven", `sslmode=require&channel_binding=${binding}`, between.port);
    expect(await connectTo(url("disable"))).toBe("encrypted");
    expect(await connectTo(url("prefer"))).toMatch(/channel binding check failed/);
    expect(await connectTo(url("require"))).toMatch(/channel binding check failed/);
  });
});

describe("a passfile", () => {
  const connect = async (content: string, mode = 0o600) => {
    const passfile = await folder.write(`passwords-${crypto.randomUUID()}`, content);
    await chmod(passfile, mode);
    return await connectTo(
      `postgres://proven@localhost:${postgres.port}/postgres?passfile=${encodeURIComponent(passfile)}`,
    );
  };

  test.for([
    { name: "wildcards", line: "*:*:*:*:hunter2" },
    {
      name: "exact fields, after others and a comment",
      line: "#*:*:*:*:x\nother:*:*:*:x\nlocalhost:PORT:postgres:proven:hunter2",
    },
    { name: "escapes", line: "localhost:*:post\\gres:*:hunter\\2" },
    { name: "carriage returns", line: "\r\n*:*:*:*:hunter2\r\n" },
  ])("is read as libpq reads it: $name", async ({ line }) => {
    expect(await connect(line.replace("PORT", String(postgres.port)))).toBe("encrypted");
  });

  test.for([
    {
      name: "the first line that fits counts",
      line: "*:*:*:*:wrong\n*:*:*:*:hunter2",
      why: /authentication failed/,
    },
    { name: "another host", line: "127.0.0.1:*:*:*:hunter2", why: /none is given/ },
    { name: "another user", line: "*:*:*:other:hunter2", why: /none is given/ },
    { name: "no line at all", line: "", why: /none is given/ },
  ])("does not help: $name", async ({ line, why }) => expect(await connect(line)).toMatch(why));

  test("is refused when others may read it, and named when it is not there", async () => {
    expect(await connect("*:*:*:*:hunter2", 0o640)).toMatch(/passfile .* may be read by others.*chmod 0600/);
    expect(
      await connectTo(`postgres://proven@localhost:${postgres.port}/postgres?passfile=/nowhere`),
    ).toMatch(/ENOENT.*nowhere/);
  });
});

/** A proxy that decrypts what it passes on. */
async function standBetween(target: number, certificate: Certificate) {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target, "127.0.0.1");
    for (const socket of [client, upstream]) sockets.add(socket.on("error", () => {}));
    client.once("data", (request: Buffer) => {
      upstream.write(request);
      upstream.once("data", () => {
        const secure = connectTls({ socket: upstream, rejectUnauthorized: false }, () => {
          client.write("S");
          const exposed = new TLSSocket(client, { isServer: true, ...certificate });
          for (const socket of [secure, exposed]) socket.on("error", () => {});
          exposed.pipe(secure).pipe(exposed);
        });
      });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await once(server.close(), "close");
    },
  };
}
