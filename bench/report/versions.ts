import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { outputOf } from "../children.ts";

const bench = join(import.meta.dirname, "..");
const packages = [
  "@bufbuild/protobuf",
  "@connectrpc/connect-node",
  "@grpc/grpc-js",
  "fastify",
  "kysely",
  "pg",
  "postgres",
];
const modules = ["github.com/jackc/pgx/v5", "google.golang.org/grpc", "google.golang.org/protobuf"];

/** The versions of the service, the runtimes and the packages that take part. */
export function versions(postgres: string): Record<string, string> {
  const goMod = readFileSync(join(bench, "peers", "go", "go.mod"), "utf8");
  const go = outputOf("go", "version")?.split(" ")[2]?.replace("go", "");
  const service = commitOf(bench);
  return {
    ...(service !== undefined && { service }),
    node: process.versions.node,
    postgresql: postgres,
    ...Object.fromEntries(packages.map((name) => [name, packageVersion(name)])),
    ...(go !== undefined && {
      go,
      ...Object.fromEntries(
        modules.map((name) => [name, new RegExp(`${name} v(\\S+)`).exec(goMod)?.[1] ?? ""]),
      ),
    }),
  };
}

/** @returns the commit that a folder is at, `-dirty` when files differ from it; undefined without Git. */
export function commitOf(folder: string): string | undefined {
  return outputOf("git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=12");
}

function packageVersion(name: string): string {
  const folders = createRequire(join(bench, "run.ts")).resolve.paths(name) ?? [];
  for (const folder of folders) {
    try {
      return JSON.parse(readFileSync(join(folder, name, "package.json"), "utf8")).version;
    } catch {
      // The package is in one of the parent folders.
    }
  }
  return "";
}
