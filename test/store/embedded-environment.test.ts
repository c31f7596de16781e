import { chmod, cp, symlink } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { noProcessWith } from "../support/embedded-child.ts";
import { createFolder } from "../support/folder.ts";
import { listening, run } from "../support/process.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** Variables of libpq's and of pg's, of which each would be fatal to a connection that took it over. */
const foreign = {
  PGHOST: "nowhere.invalid",
  PGHOSTADDR: "192.0.2.1",
  PGPORT: "1",
  PGDATABASE: "nonsense",
  PGUSER: "nobody",
  PGPASSWORD: "wrong",
  PGPASSFILE: "/nowhere",
  PGREQUIREAUTH: "gss",
  PGCHANNELBINDING: "require",
  PGCONNECT_TIMEOUT: "nonsense",
  PGCLIENTENCODING: "LATIN1",
  PGCLIENT_ENCODING: "LATIN1",
  PGOPTIONS: "-c nonsense",
  PGAPPNAME: "nonsense",
  PGREPLICATION: "true",
  PGBINARY: "true",
  PGGSSENCMODE: "require",
  PGSSLMODE: "verify-full",
  PGREQUIRESSL: "1",
  PGSSLNEGOTIATION: "nonsense",
  PGSSLCERT: "/nowhere",
  PGSSLKEY: "/nowhere",
  PGSSLROOTCERT: "/nowhere",
  PGSSLCRL: "/nowhere",
  PGSSLMINPROTOCOLVERSION: "nonsense",
  PGSERVICE: "nonsense",
  PGSERVICEFILE: "/nowhere",
  PGTARGETSESSIONATTRS: "standby",
  PGLOADBALANCEHOSTS: "nonsense",
  PGDATESTYLE: "nonsense",
  PGTZ: "nonsense",
  PGDATA: "/nowhere",
};

test("variables of libpq's are for a database that is named, and do not touch the embedded one", async () => {
  await using folder = await createFolder();
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => noProcessWith(folder.path));
  await chmod(folder.path, 0o755); // as root, the server runs as another user
  for (const part of ["src", "package.json"]) {
    await cp(join(repository, part), join(folder.path, part), { recursive: true });
  }
  await symlink(join(repository, "node_modules"), join(folder.path, "node_modules"));
  await using service = run([process.execPath, join(folder.path, "src", "cli.ts"), "serve"], {
    env: { ...foreign, PATH: process.env.PATH, HOST: "127.0.0.1", PORT: "0" },
  });
  const { url } = await listening(service);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  service.kill("SIGTERM");
  expect(await service.exit).toMatchObject({ code: 0 });
});
