import { createPrivateKey, randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { type EmbeddedPostgres, startEmbedded } from "../../src/store/embedded/embedded.ts";
import { migrate } from "../../src/store/schema/migrate.ts";
import type { Tables } from "../../src/store/schema/tables.ts";
import { startTestApp } from "../support/app.ts";
import { type Authority, createAuthority } from "../support/certificates.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { offerTls } from "../support/postgres-tls.ts";
import { startServing } from "../support/process.ts";

let directory: string;
let folder: Folder;
let postgres: EmbeddedPostgres;
/** Of the CA that signed the server's certificate. */
let ours: ClientFiles;
let ofOtherCa: ClientFiles;

/** Paths for a URL: a CA, and a certificate of it for the role `certified`. */
interface ClientFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

beforeAll(async () => {
  folder = await createFolder();
  directory = await mkdtemp(join(tmpdir(), "gomemory-status-test-"));
  postgres = await startEmbedded({ directory, settings: { fsync: "off" } });
  const authority = await createAuthority("ours");
  await setUp(authority);
  ours = await writeFiles("ours", authority);
  ofOtherCa = await writeFiles("other", await createAuthority("other"));
});

afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
  await folder[Symbol.asyncDispose]();
});

async function writeFiles(name: string, authority: Authority): Promise<ClientFiles> {
  const { cert, key } = await authority.issue("certified");
  return {
    ca: await folder.write(`${name}.ca`, authority.cert),
    cert: await folder.write(`${name}.crt`, cert),
    key: await folder.write(`${name}.key`, key),
  };
}

/** The server's certificate is for `localhost`; the role `certified` has no password, and needs a certificate of its own. */
async function setUp(authority: Authority): Promise<void> {
  const rules = join(postgres.dataDirectory, "pg_hba.conf");
  await writeFile(rules, `hostssl all certified all cert\n${await readFile(rules, "utf8")}`);
  const pool = new pg.Pool({ connectionString: postgres.url, max: 2 });
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  await migrate(db);
  await pool.query("create role certified login superuser");
  await offerTls(postgres.dataDirectory, authority, "localhost", (statement) => pool.query(statement));
  await db.destroy();
}

/** The service's answer to whether it is ready, on a database with this URL; if it is not, why. */
async function startedOn(
  parameters: Record<string, string>,
  { host = "localhost", user = "" } = {},
): Promise<string> {
  const url = new URL(postgres.url);
  url.hostname = host;
  if (user !== "") url.username = user;
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  // A plus is a plus for libpq, and no space.
  url.search = url.search.replaceAll("+", "%20");
  await using app = await startTestApp({ DATABASE_URL: url.href });
  const { status } = await fetch(`${app.url}/readyz`);
  if (status === 200) return "ready";
  const line = app.logs.find(({ msg }) => String(msg).startsWith("the database does not answer"));
  return (line?.err as Error).message;
}

describe("sslmode=verify-full", () => {
  const verified = { sslmode: "verify-full" };

  test("takes a server whose certificate is of the CA and for its name", async () => {
    expect(await startedOn({ ...verified, sslrootcert: ours.ca })).toBe("ready");
  });

  test.for([
    {
      name: "of another CA",
      ca: () => ofOtherCa.ca,
      host: "localhost",
      why: /self-signed certificate|unable to/,
    },
    {
      name: "of a CA that is not among those that Node knows",
      ca: () => undefined,
      host: "localhost",
      why: /self-signed certificate|unable to/,
    },
    { name: "for another name", ca: () => ours.ca, host: "127.0.0.1", why: /does not match certificate/ },
  ])("refuses a certificate $name", async ({ ca, host, why }) => {
    const sslrootcert = ca();
    const parameters = { ...verified, ...(sslrootcert !== undefined && { sslrootcert }) };
    expect(await startedOn(parameters, { host })).toMatch(why);
  });

  test("statements are cancelled over TLS, too, and the connection is encrypted", async () => {
    const url = new URL(postgres.url);
    url.hostname = "localhost";
    url.search = String(new URLSearchParams({ ...verified, sslrootcert: ours.ca }));
    await using app = await startTestApp({ DATABASE_URL: url.href, REQUEST_TIMEOUT: "200ms" });
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    const sessions = await client.query(
      "select distinct ssl, version from pg_stat_ssl join pg_stat_activity using (pid) where application_name like 'gomemory-status@%'",
    );
    expect(sessions.rows).toEqual([{ ssl: true, version: "TLSv1.3" }]);
    await client.query("begin; lock table memory_job in access exclusive mode");
    expect((await fetch(`${app.url}/get_status/${randomUUID()}`)).status).toBe(500);
    const waiting =
      "select count(*)::int as waiting from pg_locks where not granted and relation = 'memory_job'::regclass";
    await expect
      .poll(async () => (await client.query(waiting)).rows, { interval: 5, timeout: 10_000 })
      .toEqual([{ waiting: 0 }]);
    await client.end();
  });
});

describe("sslmode means what libpq means by it", () => {
  test.for(["prefer", "require", "allow"])("%s: anybody's certificate will do", async (sslmode) => {
    expect(await startedOn({ sslmode })).toBe("ready");
    expect(await startedOn({ sslmode }, { host: "127.0.0.1" })).toBe("ready");
  });

  test.for([
    "require",
    "verify-ca",
  ])("%s with sslrootcert: one of the CA, for whatever name", async (sslmode) => {
    expect(await startedOn({ sslmode, sslrootcert: ours.ca })).toBe("ready");
    expect(await startedOn({ sslmode, sslrootcert: ours.ca }, { host: "127.0.0.1" })).toBe("ready");
    expect(await startedOn({ sslmode, sslrootcert: ofOtherCa.ca })).toMatch(
      /self-signed certificate|unable to/,
    );
  });
});

describe("a certificate of the service's own, where the database wants one", () => {
  const parameters = () => ({ sslmode: "verify-full", sslrootcert: ours.ca });
  const certified = { user: "certified" };

  test("is shown", async () => {
    const { cert, key } = ours;
    expect(await startedOn({ ...parameters(), sslcert: cert, sslkey: key }, certified)).toBe("ready");
  });

  test("none is refused, and so is one of another CA", async () => {
    expect(await startedOn(parameters(), certified)).toMatch(/valid client certificate/);
    const { cert, key } = ofOtherCa;
    expect(await startedOn({ ...parameters(), sslcert: cert, sslkey: key }, certified)).toMatch(
      /unknown ca/i,
    );
  });

  test("a file that is not there is named", async () => {
    const sslcert = join(folder.path, "nowhere");
    expect(await startedOn({ ...parameters(), sslcert, sslkey: sslcert }, certified)).toContain(
      `ENOENT: no such file`,
    );
  });
});

describe("the other parameters of TLS", () => {
  const verified = () => ({ sslmode: "verify-full", sslrootcert: ours.ca });

  test("hostaddr is where to connect to, and the host's name is what the certificate is for", async () => {
    expect(await startedOn({ ...verified(), hostaddr: "127.0.0.1" })).toBe("ready");
    expect(await startedOn({ ...verified(), hostaddr: "127.0.0.1" }, { host: "other.invalid" })).toMatch(
      /does not match certificate/,
    );
  });

  test("sslsni=0 and sslnegotiation=direct verify as much", async () => {
    for (const parameters of [{ sslsni: "0" }, { sslnegotiation: "direct" }] as Record<string, string>[]) {
      expect(await startedOn({ ...verified(), ...parameters })).toBe("ready");
      expect(await startedOn({ ...verified(), ...parameters }, { host: "127.0.0.1" })).toMatch(
        /does not match certificate/,
      );
    }
  });

  test("sslpassword opens an encrypted key, and sslcertmode=disable keeps the certificate back", async () => {
    const passphrase = "a passphrase";
    const pem = createPrivateKey(await readFile(ours.key));
    const cipher = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase } as const;
    const sslkey = await folder.write("encrypted.key", String(pem.export(cipher)));
    const parameters = { ...verified(), sslcert: ours.cert, sslkey };
    const certified = { user: "certified" };
    expect(await startedOn({ ...parameters, sslpassword: passphrase }, certified)).toBe("ready");
    expect(await startedOn(parameters, certified)).toMatch(/bad decrypt|interrupted or cancelled/i);
    expect(
      await startedOn({ ...parameters, sslpassword: passphrase, sslcertmode: "disable" }, certified),
    ).toMatch(/valid client certificate/);
  });

  test("a list of revoked certificates that cannot be read is an error", async () => {
    expect(await startedOn({ ...verified(), sslcrl: ours.ca })).toMatch(/CRL/);
  });

  test("a version of TLS that the server does not speak is none to agree upon", async () => {
    const versions = { ssl_min_protocol_version: "TLSv1", ssl_max_protocol_version: "TLSv1.1" };
    expect(await startedOn({ ...verified(), ...versions })).toMatch(/protocol|version/i);
    expect(await startedOn({ ...verified(), ssl_max_protocol_version: "TLSv1.2" })).toBe("ready");
  });

  test.for([
    { name: "is of", ca: () => ours.ca, status: 200 },
    { name: "is not of", ca: () => ofOtherCa.ca, status: 503 },
  ])("sslrootcert=system: the server's certificate $name the system's CAs", async ({ ca, status }) => {
    const url = new URL(postgres.url);
    url.hostname = "localhost";
    url.search = "sslrootcert=system";
    await using service = await startServing({
      DATABASE_URL: url.href,
      SSL_CERT_FILE: ca(),
      SSL_CERT_DIR: "/nowhere",
    });
    expect((await fetch(`${service.url}/readyz`)).status).toBe(status);
  });
});

test("a database without TLS is refused when it is to be verified", async () => {
  const plain = new URL(inject("postgresUrl"));
  plain.searchParams.set("sslmode", "verify-full");
  await using app = await startTestApp({ DATABASE_URL: plain.href });
  const line = app.logs.find(({ msg }) => String(msg).startsWith("the database does not answer"));
  expect(line?.err).toMatchObject({ message: "The server does not support SSL connections" });
});
