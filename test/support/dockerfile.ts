import { execFile } from "node:child_process";
import { cp, mkdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join, matchesGlob, relative, resolve } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** How long, in milliseconds, a RUN may take before it is killed. */
const runTimeout = 100_000;

/** An image whose file system is a folder. */
export interface Image {
  /** The base image of its last stage. */
  readonly from: string;
  /** Where the commands run. */
  readonly workdir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly user: string | undefined;
  readonly ports: readonly string[];
  /** ENTRYPOINT and CMD. */
  readonly command: readonly string[];
  readonly healthcheck: readonly string[];
}

/** A stage of a build, while it is being built. */
interface Stage {
  readonly from: string;
  readonly root: string;
  workdir: string;
  readonly env: Record<string, string>;
  user: string | undefined;
  readonly ports: string[];
  entrypoint: string[];
  cmd: string[];
  healthcheck: string[];
}

/**
 * Builds the image of a Dockerfile in folders, on this machine and without its base image.
 *
 * @param root gets a folder for each stage.
 * @param path where the commands of RUN find their programs.
 * @throws Error for what Docker would refuse, for a shell around a command that is to run, and for any
 *   instruction that this replay does not know.
 */
export async function replayDockerfile(context: string, root: string, path: string): Promise<Image> {
  const ignores = await readIgnores(context);
  const stages = new Map<string, Stage>();
  let stage: Stage | undefined;
  for (const { keyword, rest } of instructions(await readFile(join(context, "Dockerfile"), "utf8"))) {
    if (keyword === "FROM") {
      const [from = "", , name = String(stages.size)] = rest.split(/\s+/);
      stage = newStage(from, join(root, name));
      stages.set(name, stage);
      await mkdir(stage.root);
      continue;
    }
    if (stage === undefined) throw new Error(`${keyword} before FROM`);
    switch (keyword) {
      case "WORKDIR":
        stage.workdir = inStage(stage, rest);
        await mkdir(stage.workdir, { recursive: true });
        break;
      case "ENV":
        for (const pair of rest.split(/\s+/)) {
          const [, name = "", value = ""] = /^(.*?)=(.*)$/.exec(pair) ?? [];
          stage.env[name] = value;
        }
        break;
      case "COPY":
        await copy(rest, stage, stages, { context, ignores });
        break;
      case "RUN":
        await runHere(rest, stage, path);
        break;
      case "USER":
        stage.user = rest;
        break;
      case "EXPOSE":
        stage.ports.push(...rest.split(/\s+/));
        break;
      case "ENTRYPOINT":
        stage.entrypoint = execForm(keyword, rest);
        break;
      case "CMD":
        stage.cmd = execForm(keyword, rest);
        break;
      case "HEALTHCHECK":
        stage.healthcheck = execForm(keyword, rest.replace(/^(--\S+\s+)*CMD\s+/, ""));
        break;
      default:
        throw new Error(`this replay does not know ${keyword}`);
    }
  }
  if (stage === undefined) throw new Error("no FROM");
  const { entrypoint, cmd, ...image } = stage;
  return { ...image, command: [...entrypoint, ...cmd] };
}

/** The lines of a Dockerfile, without comments, each in one piece. */
function instructions(dockerfile: string): { keyword: string; rest: string }[] {
  const lines = dockerfile.split("\n").filter((line) => !/^\s*(#|$)/.test(line));
  const whole = lines
    .join("\n")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n");
  return whole.map((line) => {
    const [, keyword = "", rest = ""] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
    return { keyword: keyword.toUpperCase(), rest: rest.trim() };
  });
}

function newStage(from: string, root: string): Stage {
  return {
    from,
    root,
    workdir: root,
    env: {},
    user: undefined,
    ports: [],
    entrypoint: [],
    cmd: [],
    healthcheck: [],
  };
}

function inStage({ root, workdir }: Stage, path: string): string {
  return path.startsWith("/") ? join(root, path) : resolve(workdir, path);
}

function execForm(keyword: string, rest: string): string[] {
  if (!rest.startsWith("[")) throw new Error(`${keyword} ${rest}: puts a shell around the command`);
  return JSON.parse(rest);
}

async function runHere(command: string, { workdir: cwd, env }: Stage, path: string): Promise<void> {
  // The command runs on this machine, perhaps as root.
  if (!/^((npm ci|chmod) [\w.,=+ -]+|\.\/bin\/[\w-]+)$/.test(command)) {
    throw new Error(`RUN ${command}: this replay runs \`npm ci\`, chmod and what is in bin alone`);
  }
  const [program = "", ...args] = command.split(/\s+/);
  // NODE_ENV is that of the tests, and the compile cache may be.
  const ownEnv = { ...process.env, NODE_ENV: undefined, NODE_COMPILE_CACHE: undefined, PATH: path, ...env };
  await run(program, args, { cwd, env: ownEnv, timeout: runTimeout });
}

async function copy(
  rest: string,
  stage: Stage,
  stages: ReadonlyMap<string, Stage>,
  { context, ignores }: { context: string; ignores: (path: string) => boolean },
): Promise<void> {
  const words = rest.split(/\s+/);
  const flags = words.filter((word) => word.startsWith("--"));
  const paths = words.filter((word) => !word.startsWith("--"));
  const from = flags.map((flag) => /^--from=(.+)$/.exec(flag)?.[1])[0];
  const origin = from === undefined ? undefined : stages.get(from);
  if (flags.length > (origin ? 1 : 0)) throw new Error(`COPY ${rest}: this replay knows no such flag`);

  const target = inStage(stage, paths.at(-1) ?? "");
  const intoFolder = paths.length > 2 || /(^|\/)\.?\/?$/.test(paths.at(-1) ?? "");
  for (const path of paths.slice(0, -1)) {
    if (!origin && ignores(path)) throw new Error(`COPY ${path}: .dockerignore leaves it out`);
    const source = origin ? join(origin.root, path) : join(context, path);
    const isFile = (await stat(source)).isFile();
    const destination = isFile && intoFolder ? join(target, basename(path)) : target;
    await mkdir(dirname(destination), { recursive: true });
    await cp(source, destination, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (file) => origin !== undefined || !ignores(relative(context, file)),
    });
  }
}

/** The last pattern that fits a path, or a folder that it is in, decides. */
async function readIgnores(context: string): Promise<(path: string) => boolean> {
  const lines = (await readFile(join(context, ".dockerignore"), "utf8")).split("\n");
  const patterns = lines.filter((line) => !/^\s*(#|$)/.test(line)).map((line) => line.trim());
  return (path) => {
    const folders = path.split("/").map((_, depth, parts) => parts.slice(0, depth + 1).join("/"));
    const last = patterns.findLast((pattern) =>
      folders.some((folder) => matchesGlob(folder, pattern.replace(/^!/, ""))),
    );
    return last !== undefined && !last.startsWith("!");
  };
}
