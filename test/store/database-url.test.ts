import { mkdir } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import os from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { readConfig } from "../../src/config/config.ts";
import { redactConfig } from "../../src/config/redact.ts";
import { sessionVariables, type UrlParameter, urlParameters } from "../../src/store/url/parameters.ts";
import { readTarget } from "../../src/store/url/target.ts";
import { mistakesIn } from "../support/config.ts";
import { createFolder } from "../support/folder.ts";

type Environment = Readonly<Record<string, string>>;

/** How the service connects with these settings. */
function targetOf(url: string, env: Environment = {}) {
  return readTarget(readConfig({ ...env, DATABASE_URL: url }, "serve").DATABASE_URL ?? "");
}

/** The ways, as `name@address:port encryption`. */
function waysOf(url: string, env: Environment = {}): string[] {
  return targetOf(url, env).ways.map(
    ({ host, address, port, encryption }) => `${host}@${address}:${port} ${encryption}`,
  );
}

describe("a URL is read as libpq reads it", () => {
  const plain = "?sslmode=disable";
  test.for([
    { url: `postgres:///db${plain}`, ways: ["localhost@localhost:5432 none"] },
    { url: `postgresql://h${plain}`, ways: ["h@h:5432 none"] },
    { url: `postgres://[::1]:5433/db${plain}`, ways: ["::1@::1:5433 none"] },
    { url: `postgres://a,b:5433/db${plain}`, ways: ["a@a:5432 none", "b@b:5433 none"] },
    { url: `postgres://a:1,[::1]:2/db${plain}`, ways: ["a@a:1 none", "::1@::1:2 none"] },
    { url: `postgres://a,b/db${plain}&port=7`, ways: ["a@a:7 none", "b@b:7 none"] },
    { url: `postgres:///db${plain}&host=a,b&port=1,2`, ways: ["a@a:1 none", "b@b:2 none"] },
    { url: `postgres://a/db${plain}&host=b`, ways: ["b@b:5432 none"] },
    { url: `postgres://a/db${plain}&hostaddr=192.0.2.1`, ways: ["a@192.0.2.1:5432 none"] },
    { url: `postgres:///db${plain}&hostaddr=192.0.2.1`, ways: ["192.0.2.1@192.0.2.1:5432 none"] },
    {
      url: "postgres:///db?host=/run/pg&hostaddr=192.0.2.1&sslmode=require",
      ways: ["/run/pg@192.0.2.1:5432 demanded"],
    },
    { url: "postgres://u:p@/db?host=/run/pg", ways: ["/run/pg@/run/pg:5432 none"] },
    { url: "postgres://%2Frun%2Fpg/db?sslmode=require", ways: ["/run/pg@/run/pg:5432 none"] },
    { url: "postgres://h?sslmode=allow", ways: ["h@h:5432 none", "h@h:5432 demanded"] },
    { url: "postgres://h", ways: ["h@h:5432 offered", "h@h:5432 none"] },
    { url: "postgres://h?sslmode=require", ways: ["h@h:5432 demanded"] },
    { url: "postgres://h?ssl=true", ways: ["h@h:5432 demanded"] },
    { url: "postgres://h?requiressl=1", ways: ["h@h:5432 demanded"] },
    { url: "postgres://h?sslrootcert=system", ways: ["h@h:5432 demanded"] },
  ])("$url", ({ url, ways }) => expect(waysOf(url)).toEqual(ways));

  test("names and passwords are percent-decoded, a plus stays a plus, and what comes last counts", () => {
    expect(targetOf("postgres://r%C3%B6b%40x:a%2Fb%3A+@h/da%20ta%23base%25")).toMatchObject({
      user: "röb@x",
      password: "a/b:+",
      database: "da ta#base%",
    });
    expect(targetOf("postgres://u:p:q@h?password=x%26y&options=-c+x&user=v&user=w")).toMatchObject({
      user: "w",
      password: "x&y",
      options: "-c+x",
      database: "w",
    });
    expect(targetOf("postgres://u:p@h/db?password=")).toMatchObject({ password: undefined });
  });

  test("whatever is percent-encoded comes out as it was", () => {
    // A character that no UTF-8 has cannot be encoded, and PostgreSQL takes no NUL.
    const text = fc.string({ unit: "grapheme", minLength: 1 }).filter((part) => !part.includes("\0"));
    fc.assert(
      fc.property(text, text, text, text, (user, password, database, options) => {
        const [u, p, d, o] = [user, password, database, options].map(encodeURIComponent);
        const expected = { user, password, database, options };
        expect(targetOf(`postgres://${u}:${p}@h/${d}?options=${o}`)).toMatchObject(expected);
        expect(targetOf(`postgres://?user=${u}&password=${p}&dbname=${d}&options=${o}`)).toMatchObject(
          expected,
        );
        const env = { PGUSER: user, PGPASSWORD: password, PGDATABASE: database, PGOPTIONS: options };
        expect(targetOf("postgres://h", env)).toMatchObject(expected);
      }),
    );
  });

  test.for([
    ["web-7f9c", "web-7f9c"],
    ["büro", "b?ro"],
    ["a".repeat(80), "a".repeat(63 - "gomemory-status@".length - `:${process.pid}`.length)],
  ])("without a name, it is the instance's in 63 bytes of ASCII: of host %s", ([name, shown]) => {
    vi.spyOn(os, "hostname").mockReturnValue(name as string);
    syncBuiltinESMExports();
    const { applicationName } = targetOf("postgres://h");
    vi.restoreAllMocks();
    syncBuiltinESMExports();
    expect(applicationName).toBe(`gomemory-status@${shown}:${process.pid}`);
  });

  test("each parameter has its effect", () => {
    const url =
      "postgres://u@h/db?passfile=/p&require_auth=!password,!md5&channel_binding=require&connect_timeout=7" +
      "&application_name=mine&keepalives=0&keepalives_idle=2&keepalives_interval=3&keepalives_count=4" +
      "&sslmode=verify-full&sslnegotiation=direct&sslcert=/c&sslkey=/k&sslpassword=s&sslrootcert=/r&sslcrl=/l&sslsni=0" +
      "&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.3&target_session_attrs=primary&load_balance_hosts=random";
    expect(targetOf(url)).toMatchObject({
      passfile: "/p",
      requireAuth: new Set(["gss", "sspi", "scram-sha-256", "oauth", "none"]),
      channelBinding: "require",
      connectTimeout: 7_000,
      applicationName: "mine",
      keepAlive: { enable: false, initialDelay: 2_000, interval: 3_000, count: 4 },
      tls: {
        verify: "host",
        rootCert: "/r",
        crl: "/l",
        cert: "/c",
        key: "/k",
        passphrase: "s",
        sni: false,
        minVersion: "TLSv1.3",
        maxVersion: "TLSv1.3",
        direct: true,
      },
      sessionAttrs: "primary",
      random: true,
    });
    expect(targetOf("postgres://h?fallback_application_name=x").applicationName).toBe("x");
    expect(targetOf("postgres://h?application_name=x&fallback_application_name=y").applicationName).toBe("x");
    expect(targetOf("postgres://h?sslcert=/c&sslkey=/k&sslcertmode=disable").tls).toMatchObject({
      cert: undefined,
      key: undefined,
    });
  });
});

describe("nothing is ignored", () => {
  // A host may be called anything: below.
  const parameters = Object.entries<UrlParameter>(urlParameters).filter(([name]) => name !== "host");

  test.for(
    parameters.filter(([, { takes }]) => takes !== undefined).map(([name]) => name),
  )("a value that %s does not take is refused by that name, in both URLs, and not shown", (name) => {
    const url = `postgres://h?${name}=hunter2`;
    const mistakes = mistakesIn({ DATABASE_URL: url, DATABASE_READ_URL: url });
    expect(mistakes).toEqual([
      expect.stringMatching(`^DATABASE_URL: ${name} (is not supported: |takes )`),
      expect.stringMatching(`^DATABASE_READ_URL: ${name} (is not supported: |takes )`),
    ]);
    expect(mistakes.join()).not.toContain("hunter2");
  });

  test.for(
    parameters.flatMap(([name, { env, takes }]) => (env && takes ? [{ name, env }] : [])),
  )("so is one of $env, once, unless the URL says it", ({ name, env }) => {
    const both = { DATABASE_URL: "postgres://h", DATABASE_READ_URL: "postgres://h" };
    expect(mistakesIn({ ...both, [env]: "hunter2" })).toEqual([
      expect.stringMatching(`^${env}: ${name} (is not supported: |takes )(?!.*hunter2)`),
    ]);
    // Neither concerns the embedded database, nor who asks a server.
    expect(mistakesIn({ [env]: "hunter2" })).toEqual([]);
    expect(mistakesIn({ DATABASE_URL: "postgres://h", [env]: "hunter2" }, "get")).toEqual([]);
  });

  test.for(Object.keys(sessionVariables))("%s is refused", (variable) => {
    expect(mistakesIn({ DATABASE_URL: "postgres://h", [variable]: "x" })).toEqual([
      expect.stringMatching(`^${variable} is not supported: `),
    ]);
  });

  test("what libpq does not know is refused by its name, unless it may be a part of a password", () => {
    expect(mistakesIn({ DATABASE_URL: "postgres://h?uselibpqcompat=true&statement_timeout=1" })).toEqual([
      "DATABASE_URL: uselibpqcompat is none that libpq knows",
      "DATABASE_URL: statement_timeout is none that libpq knows",
    ]);
    expect(mistakesIn({ DATABASE_URL: "postgres://h?password=hun&ter2=x" })).toEqual([
      "DATABASE_URL: a parameter (not shown) is none that libpq knows",
    ]);
  });

  test.for([
    ["host=a,b&hostaddr=192.0.2.1", "hostaddr has 1 addresses, and host 2 names"],
    ["host=a,b,c&port=1,2", "port has 2 ports for 3 hosts"],
    ["sslmode=require&sslrootcert=system", "sslrootcert=system wants sslmode=verify-full"],
    ["sslmode=verify-ca", "sslmode=verify-ca wants sslrootcert"],
    ["sslmode=verify-full&hostaddr=192.0.2.1", "sslmode=verify-full wants a host"],
    ["sslnegotiation=direct", "sslnegotiation=direct wants an sslmode of require"],
    ["sslnegotiation=direct&sslmode=prefer", "sslnegotiation=direct wants an sslmode of require"],
    ["channel_binding=require&sslmode=disable", "channel_binding=require wants TLS"],
    ["sslcert=/c", "sslcert and sslkey want each other"],
    [
      "ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
      "ssl_min_protocol_version is newer",
    ],
  ] as const)("parameters that do not go together are refused: %s", ([query, why]) => {
    expect(mistakesIn({ DATABASE_URL: `postgres:///db?${query}` })).toEqual([
      expect.stringMatching(`^DATABASE_URL: ${why}`),
    ]);
  });

  test("abstract sockets are refused", () => {
    expect(mistakesIn({ DATABASE_URL: "postgres:///db?host=a,%40b" })).toEqual([
      expect.stringMatching(/^DATABASE_URL: host takes any but abstract sockets/),
    ]);
  });

  test("a parameter that is set to nothing is not set by the environment either, and must be a known one", () => {
    const env = { PGPASSWORD: "hunter2", PGSERVICE: "x" };
    expect(targetOf("postgres://h/db?password=&service=", env).password).toBeUndefined();
    expect(mistakesIn({ DATABASE_URL: "postgres://h?nonsense=" })).toEqual([
      "DATABASE_URL: nonsense is none that libpq knows",
    ]);
  });

  test("all mistakes are reported at once", () => {
    const url = "postgres://h?service=x&sslmode=x&krbsrvname=x&nonsense=x";
    expect(mistakesIn({ DATABASE_URL: url, PGOPTIONS: "-c x", PGTZ: "x", PORT: "x" })).toHaveLength(6);
  });
});

describe("what the URL does not say", () => {
  test("cannot be the user where the system has no name for it, as in a container", () => {
    const spy = vi.spyOn(os, "userInfo").mockImplementation(() => {
      throw new Error("ENOENT");
    });
    syncBuiltinESMExports();
    try {
      expect(mistakesIn({ DATABASE_URL: "postgres://h" })).toEqual([
        expect.stringMatching(/^DATABASE_URL: user is not given/),
      ]);
      expect(mistakesIn({ DATABASE_URL: "postgres://u@h" })).toEqual([]);
    } finally {
      spy.mockRestore();
      syncBuiltinESMExports();
    }
  });

  test("comes from libpq's variables", () => {
    const env = { PGHOST: "a,b", PGPORT: "6432", PGUSER: "u", PGPASSWORD: "hunter2", PGSSLMODE: "require" };
    expect(targetOf("postgres:///db", env)).toMatchObject({ user: "u", password: "hunter2", database: "db" });
    expect(waysOf("postgres:///db", env)).toEqual(["a@a:6432 demanded", "b@b:6432 demanded"]);
    expect(waysOf("postgres://h:1/db?sslmode=disable", env)).toEqual(["h@h:1 none"]);
    expect(waysOf("postgres://h", { PGREQUIRESSL: "1" })).toEqual(["h@h:5432 demanded"]);
    const { DATABASE_URL } = redactConfig(readConfig({ ...env, DATABASE_URL: "postgres:///db" }, "serve"));
    expect(DATABASE_URL).toBe("postgres:///db");
  });

  test("comes from files at home, if they are there", async () => {
    await using folder = await createFolder();
    const env = { HOME: folder.path };
    expect(targetOf("postgres://u@h", env)).toMatchObject({ passfile: undefined, tls: { verify: "none" } });
    await mkdir(join(folder.path, ".postgresql"));
    for (const name of [
      ".pgpass",
      ".postgresql/root.crt",
      ".postgresql/postgresql.crt",
      ".postgresql/postgresql.key",
    ]) {
      await folder.write(name, "");
    }
    const at = (name: string) => join(folder.path, name);
    expect(targetOf("postgres://u@h", env)).toMatchObject({
      passfile: at(".pgpass"),
      tls: {
        verify: "ca",
        rootCert: at(".postgresql/root.crt"),
        cert: at(".postgresql/postgresql.crt"),
        key: at(".postgresql/postgresql.key"),
      },
    });
    expect(targetOf("postgres://u:p@h?sslrootcert=/other", env)).toMatchObject({
      passfile: undefined,
      tls: { rootCert: "/other" },
    });
  });
});
