import { afterAll, beforeAll } from "vitest";
import { createDatabase, type TestDatabase } from "./database.ts";
import { createFolder, type Folder } from "./folder.ts";
import { insertJob } from "./rows.ts";
import { tokenLine } from "./tokens.ts";

/** A pending job in a database of its own, and a caller with a token. */
export interface KnownJob {
  readonly database: TestDatabase;
  readonly reqId: string;
  /** Settings of a service that reads the job and admits alice alone, with the headers `bearing`. */
  readonly env: { readonly DATABASE_URL: string; readonly AUTH_TOKENS_FILE: string };
  /** For other files of the tests. */
  readonly folder: Folder;
}

/** Makes one for the tests of a file, or of a `describe`, and removes it after them. Its properties are there in hooks and tests. */
export function useKnownJob(): KnownJob {
  const job: { -readonly [Property in keyof KnownJob]?: KnownJob[Property] } = {};
  const made = new AsyncDisposableStack();

  beforeAll(async () => {
    const folder = made.use(await createFolder());
    const database = made.use(await createDatabase());
    const AUTH_TOKENS_FILE = await folder.write("tokens", tokenLine("alice", "of-alice"));
    const reqId = await insertJob(database.db);
    Object.assign(job, { database, reqId, folder, env: { DATABASE_URL: database.url, AUTH_TOKENS_FILE } });
  });
  afterAll(() => made.disposeAsync());

  return job as KnownJob;
}
