import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { calmest } from "../../bench/against/calm.ts";
import { renameSettings } from "../../bench/against/renamed-settings.ts";
import { compareFigures } from "../../bench/against/verdict.ts";
import type { Candidate } from "../../bench/candidates.ts";
import { openCheckout, problemOf } from "../../bench/checkout.ts";
import type { Table } from "../../bench/database.ts";
import type { PhaseResult } from "../../bench/load/phase.ts";
import { readOptions } from "../../bench/options.ts";
import { startServer } from "../../bench/server.ts";
import manifest from "../../package.json" with { type: "json" };
import { createFolder } from "../support/folder.ts";

/** As taskset writes them. */
const allCpus = "0-1023";

describe("a figure of two checkouts", () => {
  const verdicts = [
    { name: "equal in the median", ratios: [0.9, 1.2, 1, 1.01, 0.99], verdict: "within 3 %" },
    { name: "hardly more, in every round", ratios: [1.02, 1.029, 1.029, 1.05, 1.01], verdict: "within 3 %" },
    {
      name: "more in the median, less in one round",
      ratios: [1.06, 1.07, 0.99],
      verdict: "inside the spread",
    },
    {
      name: "less in the median, more in one round",
      ratios: [0.94, 0.93, 1.01],
      verdict: "inside the spread",
    },
    { name: "more in every round", ratios: [1.2, 1.01, 1.05, 1.02, 1.06], verdict: "slower by 5.0 %" },
    { name: "less in every round", ratios: [0.8, 0.99, 0.9, 0.95, 0.85], verdict: "faster by 10.0 %" },
  ];
  for (const { name, ratios, verdict } of verdicts) {
    test(`${name}: ${verdict}`, () => {
      const compared = compareFigures(
        ratios.map((ratio) => ratio * 20),
        ratios.map(() => 20),
      );
      expect(compared.verdict).toBe(verdict);
    });
  }

  test("has the median and the extremes of each side, and of the ratios within each round", () => {
    expect(compareFigures([10, 60, 20, 44], [10, 50, 20, 40])).toEqual({
      a: { median: 32, min: 10, max: 60 },
      b: { median: 30, min: 10, max: 50 },
      ratio: { median: 1.05, min: 1, max: 1.2 },
      verdict: "inside the spread",
    });
  });
});

test("of the pairs of windows, the calmest of each order counts", () => {
  const windows = (...others: number[]) =>
    others.map((cpu) => ({ cpu: { others: cpu }, seconds: 1 }) as PhaseResult);
  const A = windows(0.1, 0, 0.2, 0.9);
  const B = windows(0.8, 0.3, 0.2, 0);
  expect(calmest({ A, B })).toEqual({ A: [A[2], A[1]], B: [B[2], B[1]] });
});

// The benchmark needs Linux.
test.runIf(process.platform === "linux")(
  "a port that another program took meanwhile ends no run",
  async () => {
    await using folder = await createFolder();
    // Node's own error, of a port that is in use: at its first start the program listens twice.
    const program = await folder.write(
      "server.mjs",
      `import { createServer } from "node:http";
    import { existsSync, writeFileSync } from "node:fs";
    const isFirst = !existsSync("started");
    writeFileSync("started", "");
    const listen = () => createServer((_, response) => response.end("{}")).listen(process.env.PORT, "127.0.0.1");
    listen();
    if (isFirst) listen();`,
    );
    const command = [process.execPath, program];
    const candidate: Candidate = {
      name: "late",
      protocol: "rest",
      command,
      cwd: folder.path,
      constant: "7b7d",
    };
    const table: Table = { url: "postgres://nowhere", rows: 1, base: 0, expiredId: "" };
    await using server = await startServer(candidate, table, allCpus);
    const response = await fetch(`http://127.0.0.1:${server.port}`);
    expect(await response.text()).toBe("{}");
  },
);

describe("--against", () => {
  const takes = "--against takes the folder of another checkout of this repository: it got";
  const serve = "src/cli.ts serve";
  const checkout = { name: manifest.name, scripts: { start: `node ${serve}` } };
  const wrong = [
    { name: "a folder that does not exist", files: undefined, problem: "does not exist" },
    {
      name: "a folder without a package.json",
      files: {},
      problem: `has no package.json with a name, and not "${manifest.name}"`,
    },
    {
      name: "another repository",
      files: { "package.json": JSON.stringify({ ...checkout, name: "other" }) },
      problem: `has the package "other", and not "${manifest.name}"`,
    },
    {
      name: "a checkout without its packages",
      files: { "package.json": JSON.stringify(checkout) },
      problem: "has no node_modules: run `npm ci` there first",
    },
  ];
  for (const { name, files, problem } of wrong) {
    test(`${name} is refused: ${problem}`, async () => {
      await using folder = await createFolder();
      const path = join(folder.path, "checkout");
      if (files !== undefined) await mkdir(path);
      for (const [file, text] of Object.entries(files ?? {})) await writeFile(join(path, file), text);
      expect(() => readOptions(["--against", path])).toThrow(
        `${takes} ${JSON.stringify(path)}, which ${problem}`,
      );
    });
  }

  test("options that have no effect beside it are refused", () => {
    expect(() => readOptions(["--against", ".", "--quick"])).toThrow(
      "--against takes --rows and --rounds beside it: it got --quick, which has no effect there",
    );
    expect(() => readOptions(["--against", ".", "--only", "grpc"])).toThrow("it got --only");
    expect(() => readOptions(["--against", ".", "--beside", "."])).toThrow("it got --beside");
  });

  const scripts = [
    {
      name: "with variables and flags",
      start: `A=.data/x B=a.b=0 node --heap=1 --no-y ${serve}`,
      command: ["env", "A=.data/x", "B=a.b=0", "NODE", "--heap=1", "--no-y", "src/cli.ts", "serve"],
    },
    {
      name: "with nothing but the program",
      start: `node ${serve}`,
      command: ["env", "NODE", "src/cli.ts", "serve"],
    },
    {
      name: "with exec",
      start: `A=1 exec node --z ${serve}`,
      command: ["env", "A=1", "NODE", "--z", "src/cli.ts", "serve"],
    },
  ];
  const launcher = `#!/bin/sh
export OF_THE_CALLER
export B=2
exec node --z \\
  --y "\${0%/*}/../src/cli.ts" "$@"
`;
  test("a checkout is started as its own start script says, with a launcher", async () => {
    await using folder = await createFolder();
    await mkdir(join(folder.path, "node_modules"));
    await mkdir(join(folder.path, "bin"));
    const start = "exec env A=1 bin/launcher serve";
    await folder.write("package.json", JSON.stringify({ ...checkout, scripts: { start } }));
    await folder.write("bin/launcher", launcher);
    const { node, serve, migrate } = openCheckout(folder.path);
    expect(serve).toEqual(["env", "A=1", "B=2", node, "--z", "--y", "src/cli.ts", "serve"]);
    expect(migrate).toEqual([node, "src/cli.ts", "migrate"]);
  });

  for (const { name, start, command } of scripts) {
    test(`a checkout is started as its own start script says, ${name}`, async () => {
      await using folder = await createFolder();
      await mkdir(join(folder.path, "node_modules"));
      await folder.write("package.json", JSON.stringify({ ...checkout, scripts: { start } }));
      expect(problemOf(folder.path)).toBeUndefined();
      const { node, serve, migrate } = openCheckout(folder.path);
      expect(serve).toEqual(command.map((word) => (word === "NODE" ? node : word)));
      expect(migrate).toEqual([node, "src/cli.ts", "migrate"]);
    });
  }

  test.for([
    { name: "knows the present name", file: "src/config/settings.ts", knows: "GRPC_FAST_PATH", changes: {} },
    {
      name: "knows the former name",
      file: "src/config/settings.ts",
      knows: "GRPC_LANE",
      changes: { GRPC_FAST_PATH: undefined, GRPC_LANE: "off" },
    },
    {
      name: "knows the former name, and keeps its settings in src",
      file: "src/settings.ts",
      knows: "GRPC_LANE",
      changes: { GRPC_FAST_PATH: undefined, GRPC_LANE: "off" },
    },
  ])("a renamed setting reaches a checkout that $name", async ({ file, knows, changes }) => {
    await using folder = await createFolder();
    await mkdir(dirname(join(folder.path, file)), { recursive: true });
    await folder.write(file, `export const settings = { ${knows}: {} };`);
    expect(renameSettings(folder.path, { GRPC_FAST_PATH: "off", PORT: "1" })).toStrictEqual(changes);
    expect(renameSettings(folder.path, { PORT: "1" })).toEqual({});
  });

  test.for([
    "node a.ts && node b.ts",
    "A='b c' node a.ts",
    "tsx a.ts",
  ])("a start script that is not one call of Node is refused: %s", async (start) => {
    await using folder = await createFolder();
    await mkdir(join(folder.path, "node_modules"));
    await folder.write("package.json", JSON.stringify({ ...checkout, scripts: { start } }));
    expect(() => readOptions(["--against", folder.path])).toThrow(
      `in ${join(folder.path, "package.json")}: it found ${JSON.stringify(start)}`,
    );
  });
});
