import { execFile } from "node:child_process";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createFolder, type Folder } from "../support/folder.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** What each room may import of the others. Everything else of src, it may not. */
const mayImport = {
  status: [],
  protocols: ["status"],
  store: ["status"],
  telemetry: ["status"],
} as const satisfies Record<string, readonly string[]>;
type Room = keyof typeof mayImport;
const rooms = Object.keys(mayImport) as Room[];

/** Packages that some rooms must not know. */
const packages: Readonly<Record<string, readonly Room[]>> = {
  pg: ["status", "protocols"],
  "pg/lib/client.js": ["status", "protocols"],
  kysely: ["status", "protocols"],
  "node:http": ["status", "store"],
  "node:http2": ["status", "store"],
  "@connectrpc/connect": ["status", "store"],
};

/** A file with one import. */
interface Sample {
  readonly file: string;
  readonly code: string;
  readonly isAllowed: boolean;
}

/** Folders deep in a room; the last is as deep as the house may become. */
const depths = [1, 2, 3, 4];

/** The ways to write an import. */
const forms: Readonly<Record<string, (source: string) => string>> = {
  import: (source) => `import { it } from "${source}";\n\nit();\n`,
  type: (source) => `import type { It } from "${source}";\n\nexport type Mine = It;\n`,
  export: (source) => `export { it } from "${source}";\n`,
  dynamic: (source) => `export const it = await import("${source}");\n`,
};

const samples: readonly Sample[] = rooms.flatMap((room) =>
  depths.flatMap((depth) => {
    const folders = ["one", "two", "three"].slice(0, depth - 1);
    const up = "../".repeat(depth);
    const sources: [source: string, isAllowed: boolean][] = [
      [`${up}app.ts`, false],
      ["./sibling.ts", true],
      [`${up}gen/generated.ts`, true],
      ...folders.map((_, above): [string, boolean] => [`${"../".repeat(above + 1)}above.ts`, true]),
      ...rooms
        .filter((other) => other !== room)
        .flatMap((other): [string, boolean][] => {
          const isAllowed = (mayImport[room] as readonly string[]).includes(other);
          return [
            [`${up}${other}/file.ts`, isAllowed],
            [`${up}${other}/deep/er/file.ts`, isAllowed],
          ];
        }),
      ...Object.entries(packages).map(([name, strangers]): [string, boolean] => [
        name,
        !strangers.includes(room),
      ]),
    ];
    return sources.flatMap(([source, isAllowed], index) =>
      Object.entries(forms).map(([form, write]) => ({
        file: ["src", room, ...folders, `${form}-${index}.ts`].join("/"),
        code: write(source),
        isAllowed,
      })),
    );
  }),
);

let folder: Folder;
/** The samples in which biome finds a forbidden import. */
let refused: Set<string>;

beforeAll(async () => {
  folder = await createFolder();
  for (const name of ["biome.json", "imports.grit", "package.json"]) {
    await cp(join(repository, name), join(folder.path, name));
  }
  for (const { file, code } of samples) {
    const path = join(folder.path, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, code);
  }
  refused = await refusedIn(folder.path);
});
afterAll(() => folder[Symbol.asyncDispose]());

async function refusedIn(path: string): Promise<Set<string>> {
  const biome = join(repository, "node_modules/.bin/biome");
  const args = ["lint", "--vcs-enabled=false", "--max-diagnostics=none", "--reporter=github", "src"];
  const output = await new Promise<string>((resolve) => {
    // Its exit code is that of a failure, as it should be.
    execFile(biome, args, { cwd: path, maxBuffer: 1e8 }, (_, stdout, stderr) => resolve(stdout + stderr));
  });
  const found = output.matchAll(/::error title=(?:lint\/style\/noRestrictedImports|plugin),file=([^,]+),/g);
  return new Set(Array.from(found, ([, file = ""]) => file));
}

describe.each(rooms)("a file of %s", (room) => {
  test.each(depths)("imports what it may and nothing else, %d folders deep", (depth) => {
    const here = samples.filter(({ file }) => {
      const [, first, ...rest] = file.split("/");
      return first === room && rest.length === depth;
    });
    expect(here.length).toBeGreaterThan(40);
    const shown = (it: Sample, isAllowed: boolean) =>
      `${isAllowed ? "allowed" : "refused"}: ${it.file}: ${it.code.split("\n")[0]}`;
    expect(here.map((it) => shown(it, !refused.has(it.file)))).toEqual(
      here.map((it) => shown(it, it.isAllowed)),
    );
  });
});
