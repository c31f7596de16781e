import { chmod, readdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listPackages } from "../support/debian.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { startCluster } from "../support/ha/cluster.ts";
import { installPrograms, type Programs, skipped } from "../support/ha/programs.ts";

describe.skipIf(skipped)("the unpacked packages", () => {
  let programs: Programs;
  let folder: Folder;

  beforeAll(async () => {
    programs = await installPrograms();
    folder = await createFolder();
  });

  afterAll(async () => {
    await folder[Symbol.asyncDispose]();
    await programs[Symbol.asyncDispose]();
  });

  test("are the same on a machine where all of them are installed and current", async () => {
    const here = await listPackages("postgresql-15", "patroni");
    expect(here).toContain("postgresql-client-15");
    expect(here).toContain("python3-psycopg2");
    const installed = here.map(
      (name) => `Package: ${name}\nStatus: install ok installed\nArchitecture: all\nVersion: 99:1\n`,
    );
    const status = await folder.write("status", installed.join("\n"));
    process.env.APT_CONFIG = await folder.write("apt.conf", `Dir::State::status "${status}";\n`);
    try {
      expect(await listPackages("postgresql-15", "patroni")).toEqual(here);
    } finally {
      delete process.env.APT_CONFIG;
    }
  });

  test("the error of a cluster whose standbys do not start quotes Patroni", async () => {
    // As if PostgreSQL's client programs had not been unpacked. The user that runs PostgreSQL must be able to read the folder.
    await chmod(folder.path, 0o755);
    for (const name of await readdir(programs.postgresPath)) {
      if (name !== "pg_basebackup") await symlink(join(programs.postgresPath, name), join(folder.path, name));
    }
    const incomplete = { ...programs, postgresPath: folder.path };
    await expect(startCluster(incomplete, 15_000)).rejects.toThrow(
      /waited for 15000 ms.*etcd: .*pg_basebackup.*PostgreSQL of node/s,
    );
  });
});
