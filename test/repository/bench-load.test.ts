import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Candidate } from "../../bench/candidates.ts";
import type { Table } from "../../bench/database.ts";
import { exponentialGaps } from "../../bench/load/arrivals.ts";
import type { PhaseResult } from "../../bench/load/phase.ts";
import { keepsRate } from "../../bench/report/kept-rate.ts";
import { startTimed } from "../../bench/start.ts";
import { createFolder } from "../support/folder.ts";

test("the gaps between calls are exponentially distributed, and the same in each phase", () => {
  const mean = 0.2;
  const [nextGap, sameAgain] = [exponentialGaps(mean), exponentialGaps(mean)];
  const gaps = Array.from({ length: 100_000 }, nextGap);
  expect(gaps.slice(0, 100)).toEqual(Array.from({ length: 100 }, sameAgain));
  expect(gaps.every((gap) => gap >= 0)).toBe(true);
  expect(average(gaps) / mean).toBeCloseTo(1, 1);
  // The probability that a gap is longer than t is e^(-t / mean).
  for (const times of [0.1, 1, 3]) {
    expect(average(gaps.map((gap) => (gap > times * mean ? 1 : 0)))).toBeCloseTo(Math.exp(-times), 2);
  }
});

test("a server that answers less than nine tenths of the calls cannot keep the rate", () => {
  const windows = (...answers: number[]) =>
    answers.map((each) => ({ answers: each, seconds: 2 }) as PhaseResult);
  expect(keepsRate(windows(9_000, 10_000, 4_000), 5_000)).toBe(true);
  expect(keepsRate(windows(8_900, 10_000, 4_000), 5_000)).toBe(false);
});

// The benchmark needs Linux.
test.runIf(process.platform === "linux")(
  "a server with a compile cache is started with an empty one, then with the same one",
  async () => {
    await using folder = await createFolder();
    const program = await folder.write(
      "server.mjs",
      `import { createServer } from "node:http";
      import { appendFileSync, existsSync, writeFileSync } from "node:fs";
      const filled = process.env.NODE_COMPILE_CACHE + "/filled";
      appendFileSync("starts", process.env.NODE_COMPILE_CACHE + " " + existsSync(filled) + "\\n");
      writeFileSync(filled, "");
      createServer((_, response) => response.end("{}")).listen(process.env.PORT, "127.0.0.1");`,
    );
    const candidate: Candidate = {
      name: "cached",
      protocol: "rest",
      command: ["env", "NODE_COMPILE_CACHE=of-its-own", process.execPath, program],
      cwd: folder.path,
      constant: "7b7d",
    };
    const table: Table = { url: "postgres://nowhere", rows: 1, base: 0, expiredId: "" };
    const starts = async () => {
      await using server = await startTimed(candidate, table, "0-1023");
      expect(server.start.coldReadyAfter).toBeGreaterThan(0);
      expect(server.start.readyAfter).toBe(server.readyAfter);
      return (await readFile(join(folder.path, "starts"), "utf8")).trim().split("\n");
    };
    const [cold = "", warm = ""] = await starts();
    const [cache = ""] = cold.split(" ");
    expect([cold, warm]).toEqual([`${cache} false`, `${cache} true`]);
    expect(cache).not.toBe("of-its-own");
    expect(existsSync(cache)).toBe(false);
  },
);

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
