import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The command of `npm start` in a checkout. */
export interface StartScript {
  /** Environment variables, as `NAME=value`. */
  readonly variables: readonly string[];
  /** Options of Node and V8. */
  readonly flags: readonly string[];
  /** The program and its arguments; the program's path is relative to the checkout's root. */
  readonly program: readonly [string, ...string[]];
}

/** A word that a shell passes on as it is. */
const word = String.raw`[\w./:,@%+=-]+`;
const pattern = new RegExp(
  String.raw`^(?:exec )?(?:env )?(?<variables>(?:\w+=${word} )*)(?:exec )?node (?<flags>(?:--${word} )*)(?<program>${word}(?: ${word})*)$`,
);

/** @throws Error when the script `start` of the package.json in `folder` is missing or is more than one call of Node. */
export function readStartScript(folder: string): StartScript {
  const file = join(folder, "package.json");
  const script: unknown = JSON.parse(readFileSync(file, "utf8")).scripts?.start;
  const parts = pattern.exec(`${script}`)?.groups;
  const [main, ...rest] = words(parts?.program);
  if (main === undefined) {
    throw new Error(
      `the benchmark needs a start script of the form "NAME=value … node --flag … program …" in ${file}: it found ${JSON.stringify(script)}`,
    );
  }
  return { variables: words(parts?.variables), flags: words(parts?.flags), program: [main, ...rest] };
}

/** @param node the Node that takes the place of the one that npm would find. */
export function startCommand(node: string, { variables, flags, program }: StartScript): readonly string[] {
  return [...nodeCommand(node, { variables, flags }), ...program];
}

/** Node with the variables and flags of a start script, without the program. */
export function nodeCommand(
  node: string,
  { variables, flags }: Pick<StartScript, "variables" | "flags">,
): readonly string[] {
  return ["env", ...variables, node, ...flags];
}

function words(text: string | undefined): string[] {
  return text?.match(/\S+/g) ?? [];
}
