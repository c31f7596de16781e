import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll } from "vitest";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder } from "../support/folder.ts";
import { startServing } from "../support/process.ts";
import { installDebian, root } from "./tools.ts";

const run = promisify(execFile);

/** The address of a service: its origin, and its host and port. */
interface Service {
  readonly url: string;
  readonly target: string;
}

/** Instances of the service for the clients, in processes of their own, since clients may keep the test's busy. */
export interface Services {
  readonly database: TestDatabase;
  readonly open: Service;
  /** An instance with TLS, for the name `localhost`. */
  readonly secure: Service;
  /** The path of the certificate of `secure`, in PEM. */
  readonly certificate: string;
  /** An instance whose database is unreachable. */
  readonly withoutDatabase: Service;
}

const openssl = await installDebian("openssl", "usr/bin/openssl");

/**
 * Starts the instances before the tests of a suite, and ends them afterwards.
 *
 * @param settings of all instances.
 * @returns an object whose fields are set before the first test.
 */
export function useServices(settings: Readonly<Record<string, string>> = {}): Services {
  const started = new AsyncDisposableStack();
  const services = {} as { -readonly [name in keyof Services]: Services[name] };

  beforeAll(async () => {
    const folder = started.use(await createFolder());
    const { key, certificate } = await followRecipe(folder.path);
    services.certificate = certificate;
    services.database = started.use(await createDatabase());
    // Without shedding on a busy machine, bursts of calls show whether a protocol loses any.
    const own = { DATABASE_URL: services.database.url, MAX_WHEN_BUSY: "10000", ...settings };
    services.open = await start(own);
    services.secure = await start({ ...own, TLS_CERT: certificate, TLS_KEY: key });
    services.withoutDatabase = await start({ ...own, DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" });
  });

  async function start(env: Readonly<Record<string, string>>): Promise<Service> {
    const { port } = started.use(await startServing(env));
    const [scheme, host] = env.TLS_CERT ? ["https", "localhost"] : ["http", "127.0.0.1"];
    return { url: `${scheme}://${host}:${port}`, target: `${host}:${port}` };
  }

  afterAll(() => started.disposeAsync());
  return services;
}

/**
 * Makes a certificate as docs/operate/access.md says: some clients do not accept every certificate.
 *
 * @param key openssl's arguments for a key of another kind than the recipe's.
 */
export async function followRecipe(
  directory: string,
  key?: string,
): Promise<{ key: string; certificate: string }> {
  const page = await readFile(join(root, "docs", "operate", "access.md"), "utf8");
  const [recipe] = /^openssl req (?:.*\\\n)*.*/m.exec(page) ?? [];
  if (recipe === undefined) throw new Error("docs/operate/access.md does not say how to make a certificate");
  const program = openssl.skipped ? "openssl" : openssl.path;
  const command = recipe.replace(/^openssl/, '"$0"').replace(/-newkey ec -pkeyopt \S+/, key ?? "$&");
  await run("sh", ["-c", command, program], {
    cwd: directory,
    env: { ...process.env, ...openssl.env },
  });
  return { key: join(directory, "server.key"), certificate: join(directory, "server.crt") };
}
