import { execFile } from "node:child_process";
import { cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createFolder, type Folder } from "../support/folder.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** The folders of src, and those of the others that the files of each may import: DESIGN's house, from top to bottom. */
const mayImport = {
  commands: ["app", "config", "server", "endpoints", "telemetry", "status", "gen"],
  app: ["config", "server", "protocols", "endpoints", "store", "telemetry", "status", "gen"],
  config: ["server", "store/url", "status", "gen"],
  server: ["protocols", "endpoints", "status", "gen"],
  protocols: ["endpoints", "status", "gen"],
  "protocols/connect": ["protocols", "endpoints", "status", "gen"],
  "protocols/grpc": ["protocols", "endpoints", "status", "gen"],
  "protocols/rest": ["protocols", "endpoints", "status", "gen"],
  endpoints: ["status", "gen"],
  store: ["status", "gen"],
  telemetry: ["status", "gen"],
  status: [],
} as const satisfies Record<string, readonly string[]>;
type Room = keyof typeof mayImport;
const rooms = Object.keys(mayImport) as Room[];

/** Whatever a file of src could import of src, by folder. */
const targets = [...rooms, "store/url", "gen", "gen/gomemory/status/v1", "gen/grpc/health/v1"];

/** Packages that the files of some rooms must not import. */
const sql: readonly string[] = ["server", "protocols", "endpoints", "status"];
const http: readonly string[] = ["store", "status"];
const packages: Readonly<Record<string, readonly string[]>> = {
  pg: sql,
  "pg/lib/client.js": sql,
  kysely: sql,
  "node:http": http,
  "node:http2": http,
  "@connectrpc/connect": http,
  "@connectrpc/connect/protocol": http,
};

/** Whether the files of a room may import those of a folder. */
function isAllowed(room: Room, target: string): boolean {
  const [house] = room.split("/");
  // Each protocol lies apart from what they share.
  if (target.startsWith("protocols/"))
    return target === room || (house !== "protocols" && isAllowed(room, "protocols"));
  if (target === house || target.startsWith(`${house}/`)) return true;
  const allowed: readonly string[] = mayImport[room];
  return allowed.some((folder) => target === folder || target.startsWith(`${folder}/`));
}

/** An import, in a line of its own. */
interface Sample {
  readonly room: Room;
  /** How many folders deep in the room its file is. */
  readonly depth: number;
  readonly file: string;
  readonly code: string;
  readonly isAllowed: boolean;
}

/** Folders deep in a room; the last is as deep as the house may become. */
const depths = [1, 2, 3, 4];

/** The ways to write an import. */
const forms: readonly ((source: string, name: string) => string)[] = [
  (source, name) => `import { ${name} } from "${source}";`,
  (source, name) => `import type { ${name} } from "${source}";`,
  (source, name) => `export { ${name} } from "${source}";`,
  (source, name) => `export const ${name} = await import("${source}");`,
];

const samples: readonly Sample[] = rooms.flatMap((room) =>
  depths.flatMap((depth) => {
    // The files directly in protocols/ are what the protocols share; its folders are rooms of their own.
    if (room === "protocols" && depth > 1) return [];
    const folders = ["one", "two", "three"].slice(0, depth - 1);
    const up = "../".repeat(depth + room.split("/").length - 1);
    const sources: [source: string, isAllowed: boolean][] = [
      [`${up}cli.ts`, false],
      ["./sibling.ts", true],
      ...folders.map((_, above): [string, boolean] => [`${"../".repeat(above + 1)}above.ts`, true]),
      ...targets
        .filter((target) => target !== room)
        .flatMap((target): [string, boolean][] => [
          [`${up}${target}/file.ts`, isAllowed(room, target)],
          [`${up}${target}/deep/er/file.ts`, isAllowed(room, target)],
        ]),
      ...Object.entries(packages).map(([name, strangers]): [string, boolean] => [
        name,
        !strangers.includes(room.split("/")[0] ?? ""),
      ]),
    ];
    const file = ["src", room, ...folders, "sample.ts"].join("/");
    return sources.flatMap(([source, allowed], index) =>
      forms.map((write, form) => ({
        room,
        depth,
        file,
        code: write(source, `it${index}_${form}`),
        isAllowed: allowed,
      })),
    );
  }),
);

/** Two files that import each other: one a function, the other a type. */
const circle = [
  { file: "src/store/round/a.ts", code: 'import { b } from "./b.ts";\n\nexport type A = number;\nb();\n' },
  {
    file: "src/store/round/b.ts",
    code: 'import type { A } from "./a.ts";\n\nexport const b = (): A => 1;\n',
  },
];

let folder: Folder;
/** What biome says of the samples. */
let diagnostics: readonly Diagnostic[];

beforeAll(async () => {
  folder = await createFolder();
  for (const name of ["biome.json", "package.json"]) {
    await cp(join(repository, name), join(folder.path, name));
  }
  const files = Map.groupBy([...samples, ...circle], ({ file }) => file);
  for (const [file, lines] of files) {
    const path = join(folder.path, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, lines.map(({ code }) => `${code}\n`).join(""));
  }
  diagnostics = await lint(folder.path);
});
afterAll(() => folder[Symbol.asyncDispose]());

interface Diagnostic {
  readonly rule: string;
  readonly file: string;
  readonly line: number;
}

async function lint(path: string): Promise<Diagnostic[]> {
  const biome = join(repository, "node_modules/.bin/biome");
  const args = ["lint", "--vcs-enabled=false", "--max-diagnostics=none", "--reporter=github", "src"];
  const output = await new Promise<string>((resolve) => {
    // Its exit code is that of a failure, as it should be.
    execFile(biome, args, { cwd: path, maxBuffer: 1e8 }, (_, stdout, stderr) => resolve(stdout + stderr));
  });
  const found = output.matchAll(/::error title=lint\/([\w/]+),file=([^,]+),line=(\d+),/g);
  return Array.from(found, ([, rule = "", file = "", line]) => ({ rule, file, line: Number(line) }));
}

describe.each(rooms)("a file of %s", (room) => {
  test.each(
    room === "protocols" ? [1] : depths,
  )("imports what it may and nothing else, %d folders deep", (depth) => {
    const here = samples.filter((it) => it.room === room && it.depth === depth);
    expect(here.length).toBeGreaterThan(100);
    const refused = diagnostics
      .filter(({ rule, file }) => rule === "style/noRestrictedImports" && file === here[0]?.file)
      .map(({ line }) => here[line - 1]?.code);
    expect(new Set(refused)).toEqual(new Set(here.filter((it) => !it.isAllowed).map(({ code }) => code)));
  });
});

test("a circle of imports is refused, even where it is of types alone", () => {
  const found = diagnostics.filter(({ rule }) => rule === "suspicious/noImportCycles");
  expect(new Set(found.map(({ file }) => file))).toEqual(new Set(circle.map(({ file }) => file)));
});

test("nothing but the command line lies outside the rooms", async () => {
  const entries = await readdir(join(repository, "src"), { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(folders.toSorted()).toEqual([...rooms.filter((room) => !room.includes("/")), "gen"].toSorted());
  expect(entries.filter((entry) => entry.isFile()).map(({ name }) => name)).toEqual(["cli.ts"]);
});
