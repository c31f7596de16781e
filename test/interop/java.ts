import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { installPatience, once, toolCache } from "../support/tool-cache.ts";
import { buf, install, type Tool } from "./tools.ts";

const run = promisify(execFile);

const sources = join(import.meta.dirname, "java");

/** A program of ours in Java, and how to start it. */
export interface JavaTool extends Tool {
  /** Of `path`, before those of the program itself. */
  readonly args: readonly string[];
}

/**
 * Builds a program of ours, a class of test/interop/java, with the machine's JDK (17 or newer). Its libraries are those
 * of pom.xml, fetched by Maven into the cache; that takes place once for all programs.
 *
 * @param library the artifact in pom.xml whose version is the tool's; of a client that the JDK itself has, none.
 * @throws Error that names the tool.
 */
export async function buildJava(name: string, mainClass: string, library?: string): Promise<JavaTool> {
  let args: readonly string[] = [];
  const tool = await install(name, async () => {
    const libraries = await fetchLibraries();
    const classes = join(toolCache, `java-${name}`);
    const classPath = [classes, join(libraries, "*")].join(delimiter);
    await rm(classes, { recursive: true, force: true });
    await mkdir(classes, { recursive: true });
    const source = join(sources, `${mainClass}.java`);
    await run("javac", [
      "--release",
      "17",
      "-Xlint:all",
      "-Werror",
      "-sourcepath",
      sources,
      "-cp",
      classPath,
      "-d",
      classes,
      source,
    ]);
    args = ["-Xmx256m", "-cp", classPath, mainClass];
    if (library === undefined) return { title: `${name} ${await versionOfJava()}`, path: "java" };
    // What it is told of the proto.
    const descriptors = join(classes, "status.binpb");
    await buf("build", "-o", descriptors);
    args = [...args, `--descriptors=${descriptors}`];
    const jars = await readdir(libraries);
    const [, version] =
      jars
        .map((jar) => new RegExp(`^${library}-(\\d.*)\\.jar$`).exec(jar) ?? [])
        .find(([, found]) => found) ?? [];
    return { title: `${name} ${version}`, path: "java" };
  });
  return { ...tool, args };
}

/** @returns where the jars are. */
async function fetchLibraries(): Promise<string> {
  const pom = join(sources, "pom.xml");
  const versions = Array.from(
    (await readFile(pom, "utf8")).matchAll(/<artifactId>(.*)<\/artifactId>\s*<version>(\d.+)<\/version>/g),
  );
  const directory = join(
    toolCache,
    `java-${versions.map(([, artifact, version]) => `${artifact}-${version}`).join("+")}`,
  );
  await once(directory, async () => {
    const copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
    await run(
      "mvn",
      [
        "--batch-mode",
        "--quiet",
        `--file=${pom}`,
        `-Dmaven.repo.local=${toolCache}/maven`,
        copy,
        `-DoutputDirectory=${directory}`,
      ],
      { timeout: installPatience },
    );
  });
  return directory;
}

async function versionOfJava(): Promise<string> {
  const { stdout } = await run("java", ["--version"]);
  return /\d[\d.]*/.exec(stdout)?.[0] ?? "";
}
