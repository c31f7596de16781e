import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../package.json" with { type: "json" };
import { readStartScript, startCommand } from "./start-script.ts";

/** A checkout of this repository, and the commands of its service, which run in its folder. */
export interface Checkout {
  readonly folder: string;
  /** The path of the Node that its npm scripts run on: that of its node_modules, if it has one. */
  readonly node: string;
  /** As `npm start` starts the service. */
  readonly serve: readonly string[];
  readonly migrate: readonly [string, ...string[]];
}

/** The checkout that the benchmark itself is part of. */
export const thisCheckout: Checkout = openCheckout(join(import.meta.dirname, ".."));

/** @throws Error when the start script of the checkout cannot be read. */
export function openCheckout(folder: string): Checkout {
  const script = readStartScript(folder);
  const installed = join(folder, "node_modules", ".bin", "node");
  const node = existsSync(installed) ? installed : process.execPath;
  return {
    folder,
    node,
    serve: startCommand(node, script),
    migrate: [node, script.program[0], "migrate"],
  };
}

/** @returns why the service of a folder cannot be started, as the end of a sentence; undefined when it can. */
export function problemOf(folder: string): string | undefined {
  if (!existsSync(folder)) return "does not exist";
  const name = packageName(folder);
  if (name !== manifest.name) {
    const found = name === undefined ? "has no package.json with a name" : `has the package "${name}"`;
    return `${found}, and not "${manifest.name}"`;
  }
  if (!existsSync(join(folder, "node_modules"))) return "has no node_modules: run `npm ci` there first";
  return undefined;
}

function packageName(folder: string): string | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).name;
  } catch {
    return undefined;
  }
}
