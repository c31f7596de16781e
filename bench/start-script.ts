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

/** A word that a shell does not change. */
const word = String.raw`[\w./:,@%+=-]+`;
const command = String.raw`^(?:exec )?(?:env )?(?<variables>(?:\w+=${word} )*)(?:exec )?`;
const pattern = new RegExp(`${command}node (?<flags>(?:--${word} )*)(?<program>${word}(?: ${word})*)$`);

/** A script of the checkout that starts Node, and the arguments that it passes on. */
const launcherPattern = new RegExp(`${command}(?<launcher>bin/${word})(?<args>(?: ${word})*)$`);

/** @throws Error when the script `start` of the package.json in `folder` is missing or is more than one call of Node. */
export function readStartScript(folder: string): StartScript {
  const file = join(folder, "package.json");
  const script: unknown = JSON.parse(readFileSync(file, "utf8")).scripts?.start;
  const parts = pattern.exec(withoutLauncher(folder, `${script}`))?.groups;
  const [main, ...rest] = words(parts?.program);
  if (main === undefined) {
    throw new Error(
      `the benchmark needs a start script of the form "NAME=value … node --flag … program …" in ${file}: it found ${JSON.stringify(script)}`,
    );
  }
  return { variables: words(parts?.variables), flags: words(parts?.flags), program: [main, ...rest] };
}

/** The call of Node in a launcher, whose program's path is relative to the launcher. */
const launched = /^exec (node .*)"\$\{0%\/\*\}\/\.\.\/(.*)" "\$@"$/m;

/** @returns a start script whose launcher, if it has one, is replaced by the call of Node in it. */
function withoutLauncher(folder: string, script: string): string {
  const { variables = "", launcher, args } = launcherPattern.exec(script)?.groups ?? {};
  if (launcher === undefined) return script;
  const text = readFileSync(join(folder, launcher), "utf8").replaceAll(/\\\n\s*/g, "");
  const exported = Array.from(text.matchAll(/^export (\w+=.*)$/gm), ([, variable]) => `${variable} `).join(
    "",
  );
  const [, node = "", program = ""] = launched.exec(text) ?? [];
  return `${variables}${exported}${node}${program}${args}`;
}

/** @param node the path of the Node that runs the program. */
export function startCommand(node: string, { variables, flags, program }: StartScript): readonly string[] {
  return ["env", ...variables, node, ...flags, ...program];
}

function words(text: string | undefined): string[] {
  return text?.match(/\S+/g) ?? [];
}
