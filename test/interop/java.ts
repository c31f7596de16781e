import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { unpackDebian } from "../support/debian.ts";
import { installPatience, once, toolCache } from "../support/tool-cache.ts";
import { buf, install, type Tool } from "./tools.ts";

const run = promisify(execFile);

const sources = join(import.meta.dirname, "java");

/** A client program in Java. */
export interface JavaTool extends Tool {
  /** The arguments of `path` before the program's own. */
  readonly args: readonly string[];
}

/**
 * Builds a client program, a class of test/interop/java, with a JDK of 17 or newer. Maven fetches the libraries of pom.xml
 * into the cache, once for all programs.
 *
 * @param library the artifact in pom.xml whose version is the tool's. Absent: the client is part of the JDK.
 * @throws Error that names the tool.
 */
export async function buildJava(name: string, mainClass: string, library?: string): Promise<JavaTool> {
  let args: readonly string[] = [];
  const tool = await install(name, async () => {
    const jdk = await findJdk();
    const libraries = await fetchLibraries(jdk);
    const classes = join(toolCache, `java-${name}`);
    const classPath = [classes, join(libraries, "*")].join(delimiter);
    await rm(classes, { recursive: true, force: true });
    await mkdir(classes, { recursive: true });
    const source = join(sources, `${mainClass}.java`);
    await run(jdk.javac, [
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
    if (library === undefined) return { title: `${name} ${jdk.version}`, path: jdk.java };
    // The program reads the proto from descriptors.
    const descriptors = join(classes, "status.binpb");
    await buf("build", "-o", descriptors);
    args = [...args, `--descriptors=${descriptors}`];
    const jars = await readdir(libraries);
    const [, version] =
      jars
        .map((jar) => new RegExp(`^${library}-(\\d.*)\\.jar$`).exec(jar) ?? [])
        .find(([, found]) => found) ?? [];
    return { title: `${name} ${version}`, path: jdk.java };
  });
  return { ...tool, args };
}

/** @returns the folder of the jars. */
async function fetchLibraries({ mvn, env }: Jdk): Promise<string> {
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
      mvn,
      [
        "--batch-mode",
        "--quiet",
        `--file=${pom}`,
        `-Dmaven.repo.local=${toolCache}/maven`,
        copy,
        `-DoutputDirectory=${directory}`,
      ],
      { env: { ...process.env, ...env }, timeout: installPatience },
    );
  });
  return directory;
}

/** The programs of a JDK and of Maven, and Maven's environment variables. */
interface Jdk {
  readonly java: string;
  readonly javac: string;
  readonly mvn: string;
  readonly version: string;
  readonly env: NodeJS.ProcessEnv;
}

/** @returns this machine's JDK and Maven, or Debian's if this machine lacks one. */
async function findJdk(): Promise<Jdk> {
  const own = { java: "java", javac: "javac", mvn: "mvn", env: {} };
  const version = await versionOf("javac").catch(() => "");
  const hasMaven = await run("mvn", ["--version"]).then(
    () => true,
    () => false,
  );
  if (Number.parseInt(version, 10) >= 17 && hasMaven) return { ...own, version };
  const { directory } = await unpackDebian("openjdk-17-jdk-headless", "maven");
  const homes = await readdir(join(directory, "usr/lib/jvm"));
  const home = homes.find((name) => name.startsWith("java-17-openjdk-")) ?? "";
  const JAVA_HOME = join(directory, "usr/lib/jvm", home);
  const java = join(JAVA_HOME, "bin/java");
  // The trust store that the installation of the package would create from the machine's CA certificates.
  const trusted = join(toolCache, "java-trusted.p12");
  await run(java, [join(sources, "TrustStore.java"), trusted]);
  const MAVEN_OPTS = `-Djavax.net.ssl.trustStore=${trusted} -Djavax.net.ssl.trustStorePassword=changeit`;
  const javac = join(JAVA_HOME, "bin/javac");
  return {
    java,
    javac,
    mvn: join(directory, "usr/share/maven/bin/mvn"),
    version: await versionOf(javac),
    env: { JAVA_HOME, MAVEN_OPTS },
  };
}

async function versionOf(javac: string): Promise<string> {
  const { stdout } = await run(javac, ["--version"]);
  return /\d[\d.]*/.exec(stdout)?.[0] ?? "";
}
