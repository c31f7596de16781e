import { once } from "node:events";
import { chmod, cp, symlink } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import { createFolder, type Folder } from "../support/folder.ts";
import { descendantsOf, type Process, processesNow, type Running, run } from "../support/process.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** A copy of the service, whose database is none that anybody uses. */
let clone: Folder;

beforeAll(async () => {
  clone = await createFolder();
  await chmod(clone.path, 0o755); // as root, the database runs as another user
  for (const name of ["package.json", "check-node.cjs", "bin", "src", "demo"]) {
    await cp(join(repository, name), join(clone.path, name), { recursive: true });
  }
  await symlink(join(repository, "node_modules"), join(clone.path, "node_modules"));
});
afterAll(() => clone[Symbol.asyncDispose]());

/** Runs a script of package.json by npm, which finds the Node of the tests first. */
function npm(...args: string[]): Running {
  return npmIn(clone, ...args);
}

function npmIn(folder: Folder, ...args: string[]): Running {
  const env = {
    PATH: dirname(process.execPath) + delimiter + process.env.PATH,
    HOME: folder.path,
    HOST: "127.0.0.1",
    PORT: "0",
    npm_config_update_notifier: "false",
  };
  const running = run(["npm", ...args], { cwd: folder.path, env, detached: true });
  // Also when a test has run out of time, and whatever npm has left behind.
  onTestFinished(() => killGroup(running.process.pid as number));
  return running;
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Waits until these processes have ended. */
async function expectEnded(processes: readonly Process[]): Promise<void> {
  const left = async () => {
    const running = new Set((await processesNow()).map(({ pid }) => pid));
    return processes.filter(({ pid }) => running.has(pid));
  };
  await expect.poll(left, { interval: 50, timeout: 10_000 }).toEqual([]);
}

describe("npm start", () => {
  test.for([
    "SIGTERM",
    "SIGINT",
  ] as const)("%s to npm ends the service and its database, and npm with 0", async (signal) => {
    const start = npm("start");
    await start.logged("listening");
    const below = await descendantsOf(start.process.pid as number);
    expect(below.map(({ command }) => command)).toEqual(
      expect.arrayContaining([
        expect.stringContaining("src/cli.ts serve"),
        expect.stringContaining("postgres -D"),
      ]),
    );
    start.kill(signal);
    await once(start.process, "exit");
    await expectEnded(below);
    const { code } = await start.exit;
    expect(code).toBe(0);
    expect(start.logs.at(-1)).toMatchObject({ msg: "stopped" });
  });

  test("SIGUSR1 opens no debugger, and the service goes on", async () => {
    const start = npm("start");
    const { port } = await start.logged("listening");
    const below = await descendantsOf(start.process.pid as number);
    const service = below.find(({ command }) => /^\S*node .*src\/cli.ts serve/.test(command));
    process.kill(service?.pid as number, "SIGUSR1");
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
    process.kill(service?.pid as number, "SIGTERM");
    const { code, stderr } = await start.exit;
    expect(stderr).not.toContain("Debugger");
    expect(code).toBe(0);
  });
});

describe("npm run demo", () => {
  test.for([
    "A simulation: Add Memory",
    '"msg":"ready"',
    "The service itself, with gRPC",
  ])("SIGTERM after %j ends it with 0, and its database", async (line) => {
    const demo = npm("run", "demo");
    await demo.wrote(line);
    const below = await descendantsOf(demo.process.pid as number);
    demo.kill("SIGTERM");
    await once(demo.process, "exit");
    await expectEnded(below);
    expect(await demo.exit).toMatchObject({ code: 0, stderr: "" });
  });
});

test.for([
  "start",
  "migrate",
  "demo",
])("npm run %s on a Node that is too old prints one line about it", async (script) => {
  await using old = await createFolder();
  await cp(join(repository, "check-node.cjs"), join(old.path, "check-node.cjs"));
  // The Node of the tests is new enough for us, and too old for this.
  await old.write("package.json", JSON.stringify({ ...manifest, engines: { node: ">=99" } }));
  const { code, stderr } = await npmIn(old, "run", script).exit;
  expect(code).toBe(1);
  expect(stderr).toBe(
    `This is Node ${process.version}, and the service runs on Node 99 or newer: install one, or let \`npm ci --include=optional\` bring it along\n`,
  );
});

test("engines names the oldest Node that the service runs on, and npm brings it along in production, too", () => {
  expect(manifest.engines.node).toBe(`>=${manifest.optionalDependencies.node.split(".")[0]}`);
});
