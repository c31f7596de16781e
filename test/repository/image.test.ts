import {
  chmod,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import {
  GetStatusResponse_Status as Status,
  StatusService,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { createAuthority } from "../support/certificates.ts";
import { createDatabase } from "../support/database.ts";
import { type Image, replayDockerfile } from "../support/dockerfile.ts";
import { anyMachine, listening, type Running, run } from "../support/process.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));
/** The launcher that `npm start` runs, and its flags of Node and V8. */
const launcher = manifest.scripts.start.split(" ").find((word) => word.startsWith("bin/")) ?? "";
const launcherFlags = (await readFile(join(repository, launcher), "utf8")).match(/(?<= )--\S+/g) ?? [];
const isRoot = process.getuid?.() === 0;
/** Owns nothing and may write nowhere. */
const ordinary = 65534;
const asOrdinary = [
  "setpriv",
  `--reuid=${ordinary}`,
  `--regid=${ordinary}`,
  "--clear-groups",
  "--pdeathsig=KILL",
];
/** Runs a command as that user, and as the first process of a namespace: Linux, as root. */
const asFirstProcess = ["unshare", "--pid", "--fork", "--kill-child", ...asOrdinary];
/** Runs a command where all that is mounted, but for what the kernel shows of itself, is read-only: Linux, as root. */
const readOnly = [
  ...["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c"],
  `for mounted in $(cut -d ' ' -f 2 /proc/self/mounts | grep -vE '^/(proc|sys|dev)(/|$)'); do
     mount -o remount,bind,ro "$mounted" 2> /dev/null
   done
   exec "$@"`,
  "sh",
];
const canBeFirstProcess = await succeeds([...asFirstProcess, "true"]);
const canBeReadOnly =
  (await succeeds([...readOnly, ...asOrdinary, "true"])) &&
  !(await succeeds([...readOnly, "touch", join(tmpdir(), "gomemory-status-read-only")]));

async function succeeds(command: readonly string[]): Promise<boolean> {
  return await run(command, {}).exit.then(
    ({ code }) => code === 0,
    () => false,
  );
}

let root: string;
let image: Image;
/** Finds Node first, and then what this machine has. */
let searchPath: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gomemory-status-image-"));
  // The ordinary user must reach the image, and Node too, wherever the repository is.
  await chmod(root, 0o755);
  const bin = join(root, "bin");
  await mkdir(bin);
  const node = join(bin, "node");
  await link(process.execPath, node).catch(() => copyFile(process.execPath, node));
  searchPath = bin + delimiter + process.env.PATH;
  image = await replayDockerfile(repository, root, searchPath);
}, 120_000);

afterAll(() => rm(root, { recursive: true, force: true }));

/** Runs a command as the container would: as an ordinary user, and with the environment of the image and of the test alone. */
function runInImage(command: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  return run(command, {
    cwd: image.workdir,
    env: { PATH: join(root, "bin"), ...image.env, ...env },
    ...(isRoot && { uid: ordinary, gid: ordinary }),
  });
}

/** Sends SIGTERM to the first process of the namespace that a command runs in. */
async function endFirst({ process: { pid } }: Running): Promise<void> {
  const [first] = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).split(" ");
  process.kill(Number(first), "SIGTERM");
}

/** Every file of the image. */
async function filesOf({ workdir }: Image): Promise<string[]> {
  const entries = await readdir(workdir, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

test("the image has the Node that the tests run on, an ordinary user and the service's port", () => {
  expect(image.from).toBe(`node:${manifest.optionalDependencies.node}-slim`);
  expect(process.version).toBe(`v${manifest.optionalDependencies.node}`);
  expect(image.user).toBe("node");
  expect(image.ports).toEqual(["9000"]);
  expect(image.env).toEqual({ NODE_ENV: "production" });
  expect(image.healthcheck).toEqual(["node", "src/cli.ts", "health"]);
});

test("the image and npm start and npm run migrate run Node by the same launcher", () => {
  expect(image.command).toEqual([`./${launcher}`, "serve"]);
  expect(manifest.scripts.start).toBe(`exec env NODE_COMPILE_CACHE=.data/compile-cache ${launcher} serve`);
  expect(manifest.scripts.migrate).toBe(`exec ${launcher} migrate`);
  expect(launcherFlags).toContain("--disable-sigusr1");
});

test("it holds what the service needs and nothing else", async () => {
  const entries = [".data", "bin", "node_modules", "package.json", "src"];
  expect((await readdir(image.workdir)).sort()).toEqual(entries);
  expect(await readdir(join(image.workdir, ".data"))).toEqual(["compile-cache"]);
  expect(await readdir(join(image.workdir, "src/store"))).not.toContain("embedded");
  const lock = JSON.parse(await readFile(join(repository, "package-lock.json"), "utf8"));
  const installed = JSON.parse(
    await readFile(join(image.workdir, "node_modules/.package-lock.json"), "utf8"),
  );
  const names = Object.keys(installed.packages);
  for (const name of Object.keys(manifest.dependencies)) expect(names).toContain(`node_modules/${name}`);
  expect(names.filter((name) => lock.packages[name].dev || lock.packages[name].optional)).toEqual([]);
  // Nothing in it waits for an install script, which the build does not run.
  expect(names.filter((name) => lock.packages[name].hasInstallScript)).toEqual([]);
});

test("all users may read its files, and only their owner may write them", async () => {
  for (const file of await filesOf(image)) {
    const { mode, uid } = await stat(file);
    expect(mode & 0o044, file).toBe(0o044);
    expect(mode & 0o022, file).toBe(0);
    expect(uid, file).toBe(process.getuid?.());
  }
});

test("it serves, is healthy, drains on SIGTERM, and writes nothing but what Node compiled, where it may", async () => {
  await using database = await createDatabase();
  const reqId = await insertJob(database.db, { status: "success" });
  const compiled = join(image.workdir, ".data/compile-cache/");
  const others = async () => (await filesOf(image)).filter((file) => !file.startsWith(compiled));
  const before = await others();
  await using service = runInImage(image.command, { DATABASE_URL: database.url, ...anyMachine });
  const { url, port } = await listening(service);

  const rest = await fetch(`${url}/get_status/${reqId}`, { headers: { Connection: "close" } });
  expect(await rest.text()).toBe(await documentedJson(database.db, reqId));
  const grpc = createClient(StatusService, createGrpcTransport({ baseUrl: url }));
  expect(await grpc.getStatus({ reqId })).toMatchObject({ status: Status.success });
  for (const host of ["", "127.0.0.1", "0.0.0.0"]) {
    await using check = runInImage(image.healthcheck, { PORT: String(port), HOST: host });
    expect(await check.exit).toMatchObject({ code: 0, stderr: "" });
  }

  service.kill("SIGTERM");
  expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
  expect(service.logs.map((line) => line.msg)).toEqual(expect.arrayContaining(["stopping", "stopped"]));
  expect(await others()).toEqual(before);
});

test.skipIf(process.platform !== "linux")(
  "Node replaces the launcher, with its flags and variable",
  async () => {
    await using service = runInImage(image.command, {
      DATABASE_URL: "postgres://nobody@127.0.0.1:1/none",
      ...anyMachine,
    });
    await listening(service);
    const of = async (file: string) =>
      (await readFile(`/proc/${service.process.pid}/${file}`, "utf8")).split("\0");
    const [program, ...args] = await of("cmdline");
    expect(program).toBe("node");
    expect(args).toEqual([...launcherFlags, expect.stringMatching(/\/src\/cli\.ts$/), "serve", ""]);
    expect(await of("environ")).toContain("GLIBC_TUNABLES=glibc.malloc.mxfast=0");
    expect(await of("environ")).toContainEqual(
      expect.stringMatching(/^NODE_COMPILE_CACHE=.*\/\.data\/compile-cache$/),
    );
  },
);

test("it starts with what its build compiled, as another user and in another folder than the build", async () => {
  await using service = runInImage(image.command, {
    DATABASE_URL: "postgres://nobody@127.0.0.1:1/none",
    NODE_DEBUG_NATIVE: "COMPILE_CACHE",
    ...anyMachine,
  });
  await listening(service);
  service.kill("SIGTERM");
  const { stderr } = await service.exit;
  const found = stderr.match(/V8 code cache for .* was (accepted|rejected)/g) ?? [];
  for (const file of ["src/app/app.ts", "node_modules/pg/lib/client.js"]) {
    expect(found).toContainEqual(expect.stringMatching(new RegExp(`/${file} was accepted$`)));
  }
  expect(found.filter((line) => line.endsWith("rejected"))).toEqual([]);
});

test("it is not healthy when the service does not answer", async () => {
  await using check = runInImage(image.healthcheck, { PORT: "1" });
  expect(await check.exit).toMatchObject({
    code: 1,
    stdout: "",
    stderr: expect.stringMatching(/^not alive: connect ECONNREFUSED /),
  });
});

test("without its NODE_ENV and a DATABASE_URL, it names what to set: it has no embedded PostgreSQL", async () => {
  await using service = runInImage(image.command, { NODE_ENV: "", ...anyMachine });
  expect(await service.exit).toMatchObject({ code: 1, stderr: "" });
  expect(service.logs.at(-1)).toMatchObject({
    msg: "cannot start",
    err: { message: "the embedded PostgreSQL is not part of this installation: set DATABASE_URL" },
  });
});

test("without a DATABASE_URL it ends with exit code 2 and names it", async () => {
  await using service = runInImage(image.command);
  const exit = await service.exit;
  expect(exit).toMatchObject({ code: 2, stdout: "" });
  expect(exit.stderr).toMatch(/^DATABASE_URL takes .* it is not set, and NODE_ENV=production requires it\n$/);
});

test.for([
  { name: "over TLS", callers: false },
  { name: "over TLS, where callers must have certificates", callers: true },
])("it is healthy $name", async ({ callers }) => {
  await using database = await createDatabase();
  const authority = await createAuthority("Tests of the image");
  const { cert, key } = await authority.issue("status", "status.example");
  const file = async (name: string, content: string) => {
    const path = join(root, name);
    await writeFile(path, content, { mode: 0o644 });
    return path;
  };
  const tls = {
    TLS_CERT: await file("server.crt", cert),
    TLS_KEY: await file("server.key", key),
    ...(callers && { TLS_CLIENT_CA: await file("callers.crt", authority.cert) }),
  };
  await using service = runInImage(image.command, { DATABASE_URL: database.url, ...anyMachine, ...tls });
  const { port } = await listening(service);
  await using check = runInImage(image.healthcheck, { PORT: String(port), ...tls });
  expect(await check.exit).toMatchObject({ code: 0, stderr: "" });
  await using unhealthy = runInImage(image.healthcheck, { PORT: "1", ...tls });
  expect(await unhealthy.exit).toMatchObject({ code: 1 });
});

test.skipIf(!canBeReadOnly)("an ordinary user runs it on a read-only file system", async () => {
  await using database = await createDatabase();
  const reqId = await insertJob(database.db);
  await using service = run([...readOnly, ...asOrdinary, ...image.command], {
    cwd: image.workdir,
    env: { PATH: searchPath, ...image.env, DATABASE_URL: database.url, ...anyMachine },
  });
  const { url } = await listening(service);
  const answer = await fetch(`${url}/get_status/${reqId}`, { headers: { Connection: "close" } });
  expect(await answer.text()).toBe(await documentedJson(database.db, reqId));
  expect(service.logs.filter(({ level }) => level !== "info")).toEqual([]);
  await endFirst(service);
  expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
});

// The kernel spares the first process of a container every signal that it has no handler for.
test.skipIf(!canBeFirstProcess)("as the first process it ends at SIGTERM during its start", async () => {
  await using database = await createDatabase();
  await using service = run([...asFirstProcess, ...image.command], {
    cwd: image.workdir,
    env: { PATH: searchPath, ...image.env, DATABASE_URL: database.url, ...anyMachine },
  });
  await service.logged("starting");
  await endFirst(service);
  expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
  expect(service.logs.at(-1)).toMatchObject({ msg: "stopped" });
});
