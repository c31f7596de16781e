import { execFile } from "node:child_process";
import { closeSync, constants, openSync, read } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLogWriter } from "../../src/telemetry/log-writer.ts";
import { createFolder, type Folder } from "../support/folder.ts";

let folder: Folder;

beforeEach(async () => {
  folder = await createFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

const mebibyte = 2 ** 20;

/** A line of so many characters, with a number in front. */
function line(number: number, length: number): string {
  return `${String(number).padEnd(length - 1, ".")}\n`;
}

/** A pipe with a name, which stays open without a reader. */
async function makePipe(flags = 0): Promise<{ path: string; fd: number }> {
  const path = join(folder.path, "pipe");
  await promisify(execFile)("mkfifo", [path]);
  return { path, fd: openSync(path, constants.O_RDWR | flags) };
}

/** Reads a pipe until the last line is this one. */
async function readUntil(path: string, isLast: (line: string) => boolean): Promise<string[]> {
  const fd = openSync(path, "r");
  let text = "";
  // A stream would read ahead, and wait for what never comes.
  do {
    const { bytesRead, buffer } = await promisify(read)(fd, Buffer.alloc(65_536), 0, 65_536, null);
    text += buffer.toString("utf8", 0, bytesRead);
  } while (!(text.endsWith("\n") && isLast(text.slice(text.lastIndexOf("\n", text.length - 2) + 1, -1))));
  closeSync(fd);
  return text.trimEnd().split("\n");
}

/** Of a line that is too long to show: what it begins with, and its length. */
function shorten(text: string): string {
  return text.length < 100 ? text : `${text.slice(0, 10)} of ${text.length}`;
}

const describeLoss = (count: number) => `lost ${count}\n`;

test("beyond 16 MiB that wait, lines are dropped and counted, and a line reports them once half is free", async () => {
  const { path, fd } = await makePipe();
  const writer = createLogWriter(fd, describeLoss);
  for (let number = 0; number < 24; number++) writer.write(line(number, mebibyte));
  expect(writer.droppedLines()).toBe(8);
  expect(await writer.end(1)).toBe(false);

  const lines = await readUntil(path, (last) => last.startsWith("lost"));
  const kept = Array.from({ length: 16 }, (_, number) => line(number, mebibyte).trimEnd());
  expect(lines.map(shorten)).toEqual([...kept.map(shorten), "lost 8"]);

  writer.write("and on\n");
  expect(await readUntil(path, (last) => last === "and on")).toEqual(["and on"]);
  expect(await writer.end(10_000)).toBe(true);
  closeSync(fd);
});

test("a descriptor that another process has made non-blocking, and a slow reader: no line is torn or out of order", async () => {
  const { path, fd } = await makePipe(constants.O_NONBLOCK);
  const writer = createLogWriter(fd, describeLoss);
  // No pipe takes such lines in one piece.
  const lines = Array.from({ length: 100 }, (_, number) => line(number, 100_000));
  for (const it of lines) writer.write(it);
  const read = readUntil(path, (last) => last === "the last");
  writer.write("the last\n");
  expect((await read).map(shorten)).toEqual([...lines.map((it) => shorten(it.trimEnd())), "the last"]);
  expect(await writer.end(10_000)).toBe(true);
  expect(writer.droppedLines()).toBe(0);
  closeSync(fd);
});

test.skipIf(process.platform !== "linux")("a full disk: the end does not wait for room", async () => {
  const fd = openSync("/dev/full", "w");
  const writer = createLogWriter(fd, describeLoss);
  writer.write("a line\n");
  expect(await writer.end(60_000)).toBe(true);
  writer.write("another\n");
  expect(await writer.end(60_000)).toBe(true);
  // It goes on trying: the descriptor stays open, or its number might become that of another file.
});

test("what is logged at once is written in the order in which it was logged", async () => {
  const path = join(folder.path, "log");
  const fd = openSync(path, "a");
  const writer = createLogWriter(fd, describeLoss);
  const lines = Array.from({ length: 10_000 }, (_, number) => line(number, 100));
  for (const it of lines) writer.write(it);
  expect(await writer.end(10_000)).toBe(true);
  expect(await readFile(path, "utf8")).toBe(lines.join(""));
  closeSync(fd);
});
