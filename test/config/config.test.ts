import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readConfig } from "../../src/config/config.ts";
import { redactConfig } from "../../src/config/redact.ts";
import { type SettingName, settings } from "../../src/config/settings.ts";
import { unknownVariableWarnings } from "../../src/config/unknown-variables.ts";
import { createAuthority } from "../support/certificates.ts";
import { mistakesIn } from "../support/config.ts";
import { createFolder, type Folder } from "../support/folder.ts";

const production = { NODE_ENV: "production", DATABASE_URL: "postgres://db.example/status" };

describe("readConfig", () => {
  test("an empty environment gives the defaults, durations in milliseconds", () => {
    const config = readConfig({}, "serve");
    expect(Object.keys(config)).toEqual(Object.keys(settings));
    expect(config).toMatchObject({
      DATABASE_URL: undefined,
      DATABASE_POOL_SIZE: 10,
      DATABASE_CONNECT_TIMEOUT: 1_000,
      MIGRATE: false,
      PURGE: "off",
      PURGE_INTERVAL: 600_000,
      HOST: undefined,
      PORT: 9000,
      IDLE_TIMEOUT: 65_000,
      REQUEST_TIMEOUT: 2_000,
      SHUTDOWN_DELAY: undefined,
      SHUTDOWN_TIMEOUT: 10_000,
      LOG_LEVEL: "info",
      LOG_REQUESTS: false,
      STATUS_URL: "http://localhost:9000",
      NODE_ENV: undefined,
    });
  });

  test("a variable that is set to nothing counts as not set", () => {
    const empty = Object.fromEntries(Object.keys(settings).map((name) => [name, ""]));
    expect(readConfig(empty, "serve")).toEqual(readConfig({}, "serve"));
  });

  test("variables that are no settings are ignored", () => {
    expect(readConfig({ PATH: "/bin", DATABSE_URL: "x" }, "serve")).toEqual(readConfig({}, "serve"));
  });

  const accepted: { name: SettingName; values: Record<string, unknown> }[] = [
    {
      name: "DATABASE_URL",
      values: {
        "postgres://db": "postgres://db",
        "postgresql://u:p@db:5432/status?sslmode=require": "postgresql://u:p@db:5432/status?sslmode=require",
        "postgres:///status?host=/run/postgresql": "postgres:///status?host=/run/postgresql",
      },
    },
    { name: "REPLICA_MAX_STALENESS", values: { "200ms": 200, "1m": 60_000 } },
    { name: "DATABASE_POOL_SIZE", values: { "1": 1, "1000": 1000, "007": 7 } },
    {
      name: "DATABASE_CONNECT_TIMEOUT",
      values: { "1ms": 1, "500ms": 500, "2s": 2_000, "10m": 600_000, "24h": 86_400_000, "7d": 604_800_000 },
    },
    { name: "IDLE_TIMEOUT", values: { "24d": 2_073_600_000, "2147483647ms": 2_147_483_647 } },
    { name: "MIGRATE", values: { true: true, false: false } },
    { name: "PURGE", values: { on: "on", off: "off" } },
    {
      name: "HOST",
      values: Object.fromEntries(
        ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "a-1.example.", "my_service"].map(
          (address) => [address, address],
        ),
      ),
    },
    { name: "PORT", values: { "0": 0, "80": 80, "65535": 65535 } },
    { name: "LOG_LEVEL", values: { silent: "silent", debug: "debug" } },
    { name: "STATUS_URL", values: { "https://status.example": "https://status.example" } },
    { name: "NODE_ENV", values: { test: "test" } },
  ];
  for (const { name, values } of accepted) {
    for (const [given, value] of Object.entries(values)) {
      test(`${name}=${given}`, () => expect(readConfig({ [name]: given }, "serve")[name]).toBe(value));
    }
  }

  test.for([
    ["*", ["*"]],
    ["https://app.example.com", ["https://app.example.com"]],
    ["http://localhost:3000, https://[::1]:8443", ["http://localhost:3000", "https://[::1]:8443"]],
    ["HTTPS://App.Example.com:443,http://a:80", ["https://app.example.com", "http://a"]],
    ["https://bücher.example", ["https://xn--bcher-kva.example"]],
  ] as const)("CORS_ORIGINS=%s are as browsers write them", ([given, origins]) => {
    expect(readConfig({ CORS_ORIGINS: given }, "serve").CORS_ORIGINS).toEqual(origins);
  });

  const refused: { name: SettingName; values: string[] }[] = [
    { name: "DATABASE_POOL_SIZE", values: ["0", "-1", "1001", "10000", "1.5", "1e2", "ten", " 5"] },
    { name: "REQUEST_TIMEOUT", values: ["0s", "2", "s", "-2s", "1.5s", "2 s", "2S", "2sec", "1w", "25d"] },
    { name: "IDLE_TIMEOUT", values: ["2147483648ms", "99999999999999999999d"] },
    { name: "MIGRATE", values: ["yes", "1", "TRUE", "no"] },
    { name: "PURGE", values: ["true", "ON", "yes"] },
    { name: "PORT", values: ["65536", "-1", "http", "80.0", "0x50", "9000/tcp"] },
    { name: "LOG_LEVEL", values: ["loud", "INFO", "trace"] },
    {
      name: "CORS_ORIGINS",
      values: [
        ...[
          "app.example.com",
          "https://",
          "//app.example.com",
          "ftp://app.example.com",
          "null",
          "https://a b",
        ],
        ...[
          "https://app.example.com/",
          "https://app.example.com/page",
          "https://app.example.com?x",
          "https://a#x",
        ],
        ...[
          "https://*.example.com",
          "*.example.com",
          "*,https://app.example.com",
          "https://user@app.example.com",
        ],
        ...[
          "https://app.example.com:port",
          "https://app.example.com:99999",
          "https://a,,https://b",
          "https://a,",
        ],
        ...["https://a,https://a", "https://app.example.com,HTTPS://App.Example.com:443"],
      ],
    },
    {
      name: "HOST",
      values: [
        ...["[::1]", "[::]:9000", "localhost:9000", "127.0.0.1:9000", ":9000", "::1/128", "10.0.0.0/8"],
        ...[
          "http://localhost",
          "local host",
          " localhost",
          "*",
          "256.0.0.1",
          "-a",
          "a..b",
          "10.0.0.1,10.0.0.2",
        ],
      ],
    },
    {
      name: "STATUS_URL",
      values: [...["localhost:9000", "status.example", "ftp://status.example", "http://"]],
    },
  ];
  for (const { name, values } of refused) {
    for (const given of values) {
      test(`${name}=${given} is a mistake`, () => {
        const { takes } = settings[name];
        expect(mistakesIn({ [name]: given })).toEqual([`${name} takes ${takes}: it got "${given}"`]);
      });
    }
  }

  const notShown = "it got something else, not shown since it may hold a secret";
  const ambiguous =
    "it is ambiguous: percent-encode whatever user and password have of : / ? # @ [ ] \\ % and spaces (%40 for @)";
  const unreadableUrls = {
    "mysql://root:hunter2@db/status": notShown,
    "root:hunter2@db": notShown,
    hunter2: notShown,
    "postgres://root:hunter2@db:port/status": "its port must be a number",
    "postgres://root:hunter2": "its port must be a number",
    "postgres://root:hunter%2@db": "it has a % that begins no character in UTF-8: write %25 for % itself",
    "postgres://root:hunter%00@db": "it has a % that begins no character in UTF-8: write %25 for % itself",
    "postgres://root:hunt er2@db": "it has a space or a control character: percent-encode it (%20)",
    "postgres://root@hunter2]/db": "its host must be a name or an address, an IPv6 address in brackets",
    "postgres://db/status?hunter2":
      "what follows the ? must be parameters of the form name=value, with & between them",
    "postgres://db/status?password=hunter=2":
      "what follows the ? must be parameters of the form name=value, with & between them",
    "postgres://app:a@b/c#d@host/db": ambiguous,
    "postgres://app:a/b@host/db": ambiguous,
    "postgres://app:a?b@host/db": ambiguous,
    "postgres://app:a#b@host/db": ambiguous,
    "postgres://app:a@b@host/db": ambiguous,
    "postgres://host/db?password=a@b": ambiguous,
    "postgres://host/db#hunter2": ambiguous,
  };
  test.for(Object.entries(unreadableUrls))("DATABASE_URL=%s is a mistake, and is not shown", ([
    given,
    why,
  ]) => {
    expect(mistakesIn({ DATABASE_URL: given, DATABASE_READ_URL: given })).toEqual([
      `DATABASE_URL takes a URL that begins with postgres:// or postgresql://: ${why}`,
      `DATABASE_READ_URL takes a URL that begins with postgres:// or postgresql://: ${why}`,
    ]);
  });

  test.for(
    Object.entries({
      "ftp://root:hunter2@status.example": notShown,
      "https://root:hunter2": notShown,
      "ftp://status.example/?token=hunter2": notShown,
      "https://root:hunt er2@status.example": notShown,
      "https://root:hunt@er2@status.example": ambiguous,
      "https://root:hunt/er2@status.example": ambiguous,
      "https://root:hunt\\er2@status.example": ambiguous,
      "https://root:hunt#er2@status.example": ambiguous,
      "http://status.example?token=hunter2": notShown,
      "http://status.example/?": notShown,
      "https://status.example/#top": notShown,
    }),
  )("STATUS_URL=%s is a mistake, and is not shown", ([given, why]) => {
    expect(mistakesIn({ STATUS_URL: given })).toEqual([
      `STATUS_URL takes a URL that begins with http:// or https:// and has no query and no fragment: ${why}`,
    ]);
  });

  test("every mistake is named in one error", () => {
    expect(mistakesIn({ PORT: "http", NODE_ENV: "production", MIGRATE: "yes", LOG_LEVEL: "loud" })).toEqual([
      'MIGRATE takes true or false: it got "yes"',
      'PORT takes a port, 0 to 65535: it got "http"',
      'LOG_LEVEL takes one of fatal, error, warn, info, debug, silent: it got "loud"',
      "DATABASE_URL takes a URL that begins with postgres:// or postgresql://: " +
        "it is not set, and NODE_ENV=production requires it",
    ]);
  });

  test("in production, the commands that open the database require a DATABASE_URL", () => {
    expect(mistakesIn({ ...production, DATABASE_URL: "" })).toHaveLength(1);
    expect(mistakesIn({ NODE_ENV: "production" })).toHaveLength(1);
    expect(mistakesIn({ NODE_ENV: "production" }, "get")).toEqual([]);
    expect(mistakesIn(production)).toEqual([]);
    expect(mistakesIn({ NODE_ENV: "development" })).toEqual([]);
  });

  describe.each(["serve", "migrate", "get"] as const)("%s", (command) => {
    test.for([
      [
        "STATUS_TTL",
        "STATUS_TTL was removed (unset it): a status is valid for 24 hours, a rule of the contract that the database enforces",
      ],
      ["GRPC_LANE", "GRPC_LANE is now GRPC_FAST_PATH: set that instead"],
    ] as const)("a removed or renamed setting is refused with what to do: %s", ([name, mistake]) => {
      expect(mistakesIn({ [name]: "1h", DATABASE_URL: "postgres://db" }, command)).toEqual([mistake]);
      expect(mistakesIn({ [name]: "", DATABASE_URL: "postgres://db" }, command)).toEqual([]);
      expect(unknownVariableWarnings({ [name]: "1h" })).toEqual([]);
    });
  });

  const contradictions: { env: Record<string, string>; mistake: string | undefined }[] = [
    {
      env: { BATCHES_IN_FLIGHT: "4", DATABASE_POOL_SIZE: "3" },
      mistake:
        "BATCHES_IN_FLIGHT=4 conflicts with DATABASE_POOL_SIZE=3: each statement needs a connection of its own",
    },
    {
      env: { BATCH_FLUSH_AT: "64", MAX_QUEUED: "20" },
      mistake: "BATCH_FLUSH_AT=64 conflicts with MAX_QUEUED=20: no more ids than that can wait",
    },
    { env: { BATCHES_IN_FLIGHT: "3", DATABASE_POOL_SIZE: "3" }, mistake: undefined },
    // A default gives way.
    { env: { DATABASE_POOL_SIZE: "1" }, mistake: undefined },
    { env: { MAX_WHEN_BUSY: "200", MAX_IN_FLIGHT: "100" }, mistake: undefined },
    { env: { MAX_QUEUED: "20" }, mistake: undefined },
  ];
  test.for(contradictions)("settings that cannot work together are refused, each named: $env", ({
    env,
    mistake,
  }) => {
    expect(mistakesIn(env)).toEqual(mistake === undefined ? [] : [mistake]);
  });

  test("a replica is one of a database that is named", () => {
    expect(mistakesIn({ DATABASE_READ_URL: "postgres://replica" })).toEqual([
      "DATABASE_URL takes a URL that begins with postgres:// or postgresql://: " +
        "it is not set, and DATABASE_READ_URL requires it",
    ]);
    expect(mistakesIn({ DATABASE_READ_URL: "postgres://replica" }, "get")).toEqual([]);
  });
});

describe("files that settings name", () => {
  let folder: Folder;
  let files: Record<"cert" | "key" | "other" | "tokens" | "text", string>;

  beforeAll(async () => {
    folder = await createFolder();
    const authority = await createAuthority("Tests of settings");
    const { cert, key } = await authority.issue("status", "localhost");
    files = {
      cert: await folder.write("cert.pem", cert),
      key: await folder.write("key.pem", key),
      other: await folder.write("other.pem", (await authority.issue("other")).key),
      tokens: await folder.write("tokens", `# all of them\n\nalice:${"0aF9".repeat(16)}\r\n`),
      text: await folder.write("text", "hunter2\n"),
    };
  });

  afterAll(() => folder[Symbol.asyncDispose]());

  test("are read, and are as they should be", () => {
    const { cert, key, tokens } = files;
    const env = { TLS_CERT: cert, TLS_KEY: key, TLS_CLIENT_CA: cert, AUTH_TOKENS_FILE: tokens };
    expect(readConfig(env, "serve")).toMatchObject(env);
  });

  test("are named, each with what is wrong with it, and without their content", () => {
    const nowhere = `${folder.path}/nowhere`;
    expect(
      mistakesIn({
        TLS_CERT: nowhere,
        TLS_KEY: files.text,
        TLS_CLIENT_CA: files.key,
        AUTH_TOKENS_FILE: files.text,
      }),
    ).toEqual([
      `TLS_CERT takes the path of a certificate in PEM: it got "${nowhere}", which cannot be read (ENOENT)`,
      "TLS_KEY takes the path of the private key of TLS_CERT, in PEM and without a passphrase: " +
        `it got "${files.text}", which holds no private key without a passphrase in PEM`,
      `TLS_CLIENT_CA takes the path of CA certificates in PEM: it got "${files.key}", which holds no certificate in PEM`,
      "AUTH_TOKENS_FILE takes the path of a file with a line name:sha256 for each token: " +
        `it got "${files.text}", which has something else in line 1 (want name:sha256, in hexadecimal)`,
    ]);
    expect(mistakesIn({ TLS_CERT: files.cert, TLS_KEY: files.other })).toEqual([
      "TLS_KEY takes the path of the private key of TLS_CERT, in PEM and without a passphrase: " +
        `it got "${files.other}", which is not the key of the certificate`,
    ]);
    expect(mistakesIn({ AUTH_TOKENS_FILE: folder.path })[0]).toMatch(/, which cannot be read \(EISDIR\)$/);
  });

  test("require each other", () => {
    const missing = (name: string, by: string) =>
      expect.stringMatching(`^${name} takes .* not set, and ${by} requires it$`);
    expect(mistakesIn({ TLS_CERT: files.cert })).toEqual([missing("TLS_KEY", "TLS_CERT")]);
    expect(mistakesIn({ TLS_KEY: files.key })).toEqual([missing("TLS_CERT", "TLS_KEY")]);
    expect(mistakesIn({ TLS_CLIENT_CA: files.cert })).toEqual([missing("TLS_CERT", "TLS_CLIENT_CA")]);
  });

  test("are read only for the commands that use them", () => {
    const server = { TLS_CERT: "/nowhere", TLS_KEY: "/nowhere", AUTH_TOKENS_FILE: "/nowhere" };
    for (const command of ["migrate", "get"] as const) expect(mistakesIn(server, command)).toEqual([]);
    const client = { STATUS_CLIENT_CERT: "/nowhere", STATUS_CLIENT_KEY: "/nowhere" };
    for (const command of ["migrate", "serve"] as const) expect(mistakesIn(client, command)).toEqual([]);
  });

  test("of the certificate that `get` shows, are named as those of the server are", () => {
    const https = { STATUS_URL: "https://status.example" };
    const { cert, key, other } = files;
    expect(mistakesIn({ ...https, STATUS_CLIENT_CERT: cert, STATUS_CLIENT_KEY: key }, "get")).toEqual([]);
    expect(mistakesIn({ ...https, STATUS_CLIENT_CERT: cert, STATUS_CLIENT_KEY: other }, "get")).toEqual([
      "STATUS_CLIENT_KEY takes the path of the private key of STATUS_CLIENT_CERT, in PEM and without a passphrase: " +
        `it got "${other}", which is not the key of the certificate`,
    ]);
    expect(mistakesIn({ ...https, STATUS_CLIENT_CERT: cert }, "get")).toEqual([
      expect.stringMatching(/^STATUS_CLIENT_KEY takes .* not set, and STATUS_CLIENT_CERT requires it$/),
    ]);
    expect(mistakesIn({ STATUS_CLIENT_CERT: cert, STATUS_CLIENT_KEY: key }, "get")).toEqual([
      "STATUS_CLIENT_CERT conflicts with a STATUS_URL of http://: a certificate is presented over TLS alone",
    ]);
  });
});

test.for([
  "hunter2 hunter2",
  "hunter2=x",
  "hünter2",
])("STATUS_TOKEN=%s is a mistake, and is not shown", (given) => {
  expect(mistakesIn({ STATUS_TOKEN: given })).toEqual([
    "STATUS_TOKEN takes a bearer token: letters, digits and -._~+/, with = at its end alone: " +
      "it got something else, not shown since it may hold a secret",
  ]);
});

describe("redactConfig", () => {
  const shown = (env: Record<string, string>) => redactConfig(readConfig(env, "serve"));

  test("shows every setting", () => {
    expect(Object.keys(shown(production))).toEqual(Object.keys(settings));
    expect(shown(production)).toMatchObject({ PORT: 9000, IDLE_TIMEOUT: 65_000, NODE_ENV: "production" });
  });

  test("of STATUS_TOKEN, it shows that there is one", () => {
    expect(shown({ STATUS_TOKEN: "hunter2" }).STATUS_TOKEN).toBe("set");
  });

  test.for([
    { url: "", shows: "embedded" },
    { url: "postgres://db", shows: "postgres://db" },
    { url: "postgres://root:hunter2@db:5433/status", shows: "postgres://root@db:5433/status" },
    { url: "postgresql://root@db/status", shows: "postgresql://root@db/status" },
    { url: "postgres://db/status?user=root&password=hunter2", shows: "postgres://db/status" },
    { url: "postgres://root:hunter%402@db/status", shows: "postgres://root@db/status" },
    { url: "postgres://root:hunter:2@[::1]:5433/status", shows: "postgres://root@[::1]:5433/status" },
    { url: "postgres://:hunter2@db/status", shows: "postgres://db/status" },
  ])("of DATABASE_URL=$url, it shows $shows", ({ url, shows }) => {
    expect(shown({ DATABASE_URL: url }).DATABASE_URL).toBe(shows);
    const replica = url && shows;
    expect(shown({ DATABASE_URL: "postgres://db", DATABASE_READ_URL: url }).DATABASE_READ_URL ?? "").toBe(
      replica,
    );
  });
});

describe("unknownVariableWarnings", () => {
  const hints: { name: string; meant?: SettingName }[] = [
    { name: "DATABSE_URL", meant: "DATABASE_URL" }, // a letter less
    { name: "DATABASE_URLS", meant: "DATABASE_URL" }, // a letter more
    { name: "STATUS_URI", meant: "STATUS_URL" }, // another letter
    { name: "LOG_LEVLE", meant: "LOG_LEVEL" }, // two swapped
    { name: "LOG_REQUEST", meant: "LOG_REQUESTS" },
    { name: "port", meant: "PORT" }, // nothing but case
    { name: "Database_Url", meant: "DATABASE_URL" },
    { name: "HOSTS", meant: "HOST" },
    { name: "MIGRATES", meant: "MIGRATE" },
    { name: "DATABASE_PASSWORD" },
    { name: "STATUS_SERVICE_HOST" },
    { name: "MIGRATE_ON_START" },
    { name: "PURGES", meant: "PURGE" },
    { name: "PURGE_BATCH" },
  ];
  for (const { name, meant } of hints) {
    test(`${name} ${meant ? `probably means ${meant}` : "looks like a setting"}`, () => {
      const hint = meant ? `did you mean ${meant}?` : "see --help";
      expect(unknownVariableWarnings({ [name]: "hunter2" })).toEqual([`${name} is not a setting: ${hint}`]);
    });
  }

  test("settings, and variables of other programs, are not warned of", () => {
    const others = [
      "PATH",
      "HOME",
      "HOSTNAME",
      "PWD",
      "LANG",
      "LOGNAME",
      "PGPORT",
      "NODE_OPTIONS",
      "npm_config_x",
    ];
    const names = [...Object.keys(settings), ...others];
    expect(unknownVariableWarnings(Object.fromEntries(names.map((name) => [name, "x"])))).toEqual([]);
  });

  test("each gets a warning", () => {
    expect(unknownVariableWarnings({ DATABSE_URL: "x", PATH: "/bin", STATUS_TLL: "1h" })).toHaveLength(2);
  });
});
