import { execFile, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync, read, readFileSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { Agent, get } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { createFolder, type Folder } from "../support/folder.ts";
import { cli, compileCache, startServing } from "../support/process.ts";

const run = promisify(execFile);
const isLinux = process.platform === "linux";

/** The service starts without its database. */
const env = { DATABASE_URL: "postgres://nobody@127.0.0.1:1/none", HOST: "127.0.0.1", PORT: "0" };

let folder: Folder;

beforeEach(async () => {
  folder = await createFolder();
});
afterEach(async () => {
  await run("umount", ["--lazy", join(folder.path, "disk")]).catch(() => {});
  await folder[Symbol.asyncDispose]();
});

/** Starts `serve`, which logs every call, with this standard output. */
function serveTo(stdout: number | "pipe") {
  const options: SpawnOptions = {
    env: { ...compileCache, ...env, LOG_REQUESTS: "true" },
    stdio: ["ignore", stdout, "pipe"],
  };
  const child = spawn(process.execPath, [cli, "serve"], options);
  onTestFinished(() => void child.kill("SIGKILL"));
  const stderr = text(child.stderr as NodeJS.ReadableStream);
  const exit = once(child, "exit").then(async ([code, signal]) => ({ code, signal, stderr: await stderr }));
  return { child, exit };
}

/** Reads a pipe until the service has logged its port. */
async function portFrom(fd: number): Promise<number> {
  let log = "";
  for (;;) {
    const { bytesRead, buffer } = await promisify(read)(fd, Buffer.alloc(65_536), 0, 65_536, null);
    log += buffer.toString("utf8", 0, bytesRead);
    const port = portIn(log);
    if (port !== undefined) return port;
  }
}

/** The port in the log line `listening`. */
function portIn(log: string): number | undefined {
  const [, port] = /"port":(\d+),.*"msg":"listening"/.exec(log) ?? [];
  return port === undefined ? undefined : Number(port);
}

/** Calls the service so many times, over a few connections. @returns the answers' HTTP statuses. */
async function call(port: number, times: number): Promise<Set<number | undefined>> {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const statuses = new Set<number | undefined>();
  const headers = { "X-Request-Id": "x".repeat(128) };
  async function callOnce(): Promise<void> {
    const request = get({ host: "127.0.0.1", port, path: "/get_status/none", agent, headers });
    const [response] = await once(request, "response", { signal: AbortSignal.timeout(10_000) });
    statuses.add(response.resume().statusCode);
    await once(response, "end");
  }
  for (let left = times; left > 0; left -= 8) await Promise.all(Array.from({ length: 8 }, callOnce));
  agent.destroy();
  return statuses;
}

/** The service answers although its log is not read, and ends at SIGTERM. */
async function expectAliveAndEnding(
  { child, exit }: ReturnType<typeof serveTo>,
  port: number,
): Promise<void> {
  // About a mebibyte: more than pipes and sockets hold.
  expect(await call(port, 4_000)).toEqual(new Set([400]));
  const health = await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(10_000) });
  expect(health.status).toBe(200);
  child.kill("SIGTERM");
  expect(await exit).toEqual({ code: 0, signal: null, stderr: "" });
}

describe("a log that is not read keeps the service neither from answering nor from ending", () => {
  test("a pipe, which stays as other processes know it", async () => {
    const path = join(folder.path, "pipe");
    await run("mkfifo", [path]);
    const fd = openSync(path, constants.O_RDWR);
    onTestFinished(() => closeSync(fd));
    const serving = serveTo(fd);
    const port = await portFrom(fd);
    if (isLinux) {
      const { flags = "" } =
        /flags:\s+(?<flags>\d+)/.exec(readFileSync(`/proc/${serving.child.pid}/fdinfo/1`, "utf8"))?.groups ??
        {};
      expect(Number.parseInt(flags, 8) & constants.O_NONBLOCK).toBe(0);
    }
    await expectAliveAndEnding(serving, port);
  });

  test("a socket", async () => {
    const serving = serveTo("pipe");
    let log = "";
    const listening = Promise.withResolvers<number>();
    serving.child.stdout?.setEncoding("utf8").on("data", function read(this: NodeJS.ReadableStream, chunk) {
      log += chunk;
      const port = portIn(log);
      if (port === undefined) return;
      this.off("data", read).pause();
      listening.resolve(port);
    });
    await expectAliveAndEnding(serving, await listening.promise);
  });

  test("a reader that has gone", async () => {
    const serving = serveTo("pipe");
    let log = "";
    for await (const chunk of serving.child.stdout ?? []) {
      log += chunk;
      if (portIn(log) !== undefined) break; // which closes it
    }
    await expectAliveAndEnding(serving, portIn(log) as number);
  });
});

test("a second signal ends a service whose log is not read", async () => {
  const path = join(folder.path, "pipe");
  await run("mkfifo", [path]);
  const fd = openSync(path, constants.O_RDWR);
  onTestFinished(() => closeSync(fd));
  const { child, exit } = serveTo(fd);
  const port = await portFrom(fd);
  expect(await call(port, 1_000)).toEqual(new Set([400]));
  // This call never ends, and would keep the service for SHUTDOWN_TIMEOUT.
  const held = get({ host: "127.0.0.1", port, path: "/healthz", headers: { "Content-Length": 1 } });
  held.on("error", () => {});
  await once(held, "response");
  child.kill("SIGTERM");
  // Longer than one press of Ctrl-C takes to arrive twice.
  await pause(300);
  child.kill("SIGQUIT");
  expect(await exit).toMatchObject({ code: 131 });
});

test.skipIf(!(isLinux && process.getuid?.() === 0))(
  "a log on a full disk: the service answers, and the log is whole once there is room",
  async () => {
    const mounted = join(folder.path, "disk");
    await mkdir(mounted);
    await run("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", mounted]);
    const path = join(mounted, "log");
    const fd = openSync(path, "a");
    onTestFinished(() => closeSync(fd));
    const { child, exit } = serveTo(fd);
    await expect.poll(async () => portIn(await readFile(path, "utf8")), { timeout: 10_000 }).toBeDefined();
    const port = portIn(await readFile(path, "utf8")) as number;
    expect(await call(port, 2_000)).toEqual(new Set([400]));

    await run("mount", ["-o", "remount,size=16m", mounted]);
    child.kill("SIGTERM");
    expect(await exit).toMatchObject({ code: 0, signal: null, stderr: "" });
    const lines = (await readFile(path, "utf8"))
      .trimEnd()
      .split("\n")
      .map((it) => JSON.parse(it));
    expect(lines.filter(({ msg }) => msg === "call")).toHaveLength(2_000);
    expect(lines.at(-1)).toMatchObject({ msg: "stopped" });
  },
);

test("a file gets every line, in order", async () => {
  const path = join(folder.path, "log");
  const fd = openSync(path, "a");
  onTestFinished(() => closeSync(fd));
  const { child, exit } = serveTo(fd);
  await expect.poll(async () => portIn(await readFile(path, "utf8")), { timeout: 10_000 }).toBeDefined();
  await call(portIn(await readFile(path, "utf8")) as number, 2_000);
  child.kill("SIGTERM");
  expect(await exit).toEqual({ code: 0, signal: null, stderr: "" });
  const lines = (await readFile(path, "utf8"))
    .trimEnd()
    .split("\n")
    .map((it) => JSON.parse(it));
  expect(lines.filter(({ msg }) => msg === "call")).toHaveLength(2_000);
  expect(lines.map(({ time }) => time)).toEqual(lines.map(({ time }) => time).toSorted());
  expect(lines.at(-1)).toMatchObject({ msg: "stopped" });
});

test("an error that nothing has caught is the last line of the log, and ends the service with 1", async () => {
  const preload = `data:text/javascript,process.on("SIGUSR2", () => { throw new Error("boom") })`;
  await using service = await startServing({ ...env, NODE_OPTIONS: `--import=${JSON.stringify(preload)}` });
  service.kill("SIGUSR2");
  expect(await service.exit).toMatchObject({ code: 1, stderr: "" });
  expect(service.logs.at(-1)).toMatchObject({ level: "fatal", msg: "crashed", err: { message: "boom" } });
});

test("the metrics count the lines that were dropped", async () => {
  await using service = await startServing(env);
  const metrics = await (await fetch(`${service.url}/metrics`)).text();
  expect(metrics).toContain("\nlog_lines_dropped_total 0\n");
});
