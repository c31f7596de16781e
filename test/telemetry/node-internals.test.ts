import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exitDespiteBlockedWrite, keepBlocking } from "../../src/telemetry/node-internals.ts";
import { createFolder, type Folder } from "../support/folder.ts";

// One test for each function, by its name: it fails when a version of Node changes what the function relies on.

const internals = fileURLToPath(new URL("../../src/telemetry/node-internals.ts", import.meta.url));

let folder: Folder;
let pipe: number;

beforeEach(async () => {
  folder = await createFolder();
  const path = join(folder.path, "pipe");
  await promisify(execFile)("mkfifo", [path]);
  pipe = openSync(path, constants.O_RDWR);
});

afterEach(async () => {
  closeSync(pipe);
  await folder[Symbol.asyncDispose]();
});

/** Runs a program whose standard output is a pipe that nothing reads. */
async function run(program: string): Promise<{ code: number; stderr: string }> {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", pipe, "pipe"],
  });
  try {
    const [stderr, [code]] = await Promise.all([
      text(child.stderr as NodeJS.ReadableStream),
      once(child, "close"),
    ]);
    return { code, stderr };
  } finally {
    child.kill("SIGKILL");
  }
}

test.skipIf(process.platform !== "linux")(keepBlocking.name, async () => {
  const { stderr } = await run(`
    import process from "node:process";
    import { readFileSync, writeSync } from "node:fs";
    import { keepBlocking } from ${JSON.stringify(internals)};
    const report = () => {
      const [, flags] = /flags:\\s+(\\d+)/.exec(readFileSync("/proc/self/fdinfo/1", "utf8"));
      writeSync(2, (Number.parseInt(flags, 8) & ${constants.O_NONBLOCK}) === 0 ? "blocking " : "non-blocking ");
    };
    process.stdout;
    report();
    keepBlocking(process.stdout, process.stderr);
    report();
  `);
  expect(stderr).toBe("non-blocking blocking ");
});

test(exitDespiteBlockedWrite.name, async () => {
  // More than a pipe holds: the write blocks, and process.exit would wait for it.
  const { code, stderr } = await run(`
    import { write } from "node:fs";
    import { exitDespiteBlockedWrite } from ${JSON.stringify(internals)};
    process.once("exit", exitDespiteBlockedWrite);
    write(1, Buffer.alloc(1_000_000), () => {});
    setTimeout(() => process.exit(3), 100);
  `);
  expect({ code, stderr }).toEqual({ code: 3, stderr: "" });
}, 20_000);
