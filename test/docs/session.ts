import { execFile } from "node:child_process";
import { readdir, symlink } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder } from "../support/folder.ts";
import { anyMachine, listening, type Running, runCli } from "../support/process.ts";
import { root } from "./pages.ts";

/** The id that every example names. */
export const exampleId = "0b1cda3c-9a5f-4b7e-8f2d-1c0a9b8e7d6f";
/** The id of examples that has no status. */
export const unknownId = "11111111-1111-4111-8111-111111111111";
export const exampleError = "Vector database timeout during embedding generation";

/** A terminal in which the commands of a page are typed, one after the other, with the service beside it. */
export interface Session extends AsyncDisposable {
  readonly database: TestDatabase;
  /** Types a command. @returns what it printed on standard output. @throws Error when it fails. */
  type(command: string): Promise<string>;
}

/** Opens a terminal in a folder that looks like a clone of the repository. What commands write there is removed. */
export async function openSession(): Promise<Session> {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await createFolder());
  const database = opened.use(await createDatabase());
  const files = await readdir(root);
  for (const name of files.filter((each) => each !== ".git"))
    await symlink(join(root, name), join(folder.path, name));
  const grpcurl = join(root, "test/support/grpcurl-child.ts");
  const program = await folder.write("grpcurl", `#!/bin/sh\nexec '${process.execPath}' '${grpcurl}' "$@"\n`);
  await promisify(execFile)("chmod", ["+x", program]);
  await database.pool.query("insert into memory_job (req_id, status, error) values ($1, 'failure', $2)", [
    exampleId,
    exampleError,
  ]);

  const variables: Record<string, string> = { DATABASE_URL: database.url };
  let service: (Running & { port: number }) | undefined;
  opened.defer(async () => await service?.[Symbol.asyncDispose]());

  async function start(env: Readonly<Record<string, string>>): Promise<number> {
    await service?.[Symbol.asyncDispose]();
    const running = runCli(
      ["serve"],
      { ...anyMachine, DATABASE_URL: database.url, ...env },
      { cwd: folder.path },
    );
    service = { ...running, port: 0 };
    service = { ...service, port: (await listening(running)).port };
    return service.port;
  }

  async function run(command: string, port: number): Promise<string> {
    const { stdout } = await promisify(execFile)(
      "sh",
      ["-ec", command.replaceAll("localhost:9000", `localhost:${port}`)],
      {
        cwd: folder.path,
        env: {
          ...process.env,
          STATUS_URL: `http://localhost:${port}`,
          ...variables,
          PATH: [folder.path, process.env.PATH].join(delimiter),
        },
        timeout: 30_000,
      },
    );
    return stdout;
  }

  const opens = opened.move();
  return {
    database,
    async type(command) {
      const [, settings] = /^((?:[A-Z_]+=\S+ )*)npm start$/.exec(command) ?? [];
      if (settings !== undefined) {
        await start(
          Object.fromEntries(
            settings
              .trim()
              .split(" ")
              .filter(Boolean)
              .map((pair) => pair.split("=")),
          ),
        );
        return "";
      }
      const [, name, value = ""] = /^([A-Z_]+)=(\S*\$\(.*\))$/.exec(command) ?? [];
      if (name !== undefined) {
        variables[name] = (await run(`printf %s "${value}"`, 0)).trim();
        return "";
      }
      const port =
        command.includes("localhost:9000") || command.includes(" get ")
          ? (service?.port ?? (await start({})))
          : 0;
      return await run(command, port);
    },
    [Symbol.asyncDispose]: () => opens.disposeAsync(),
  };
}
