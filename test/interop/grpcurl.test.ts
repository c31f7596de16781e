import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { installGo } from "./tools.ts";

const grpcurl = await installGo("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl", "v1.9.4");

describe.skipIf(grpcurl.skipped)(grpcurl.title, () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createDatabase();
    app = await startTestApp({ DATABASE_URL: database.url });
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  test("list", async () => {
    const { stdout } = await promisify(execFile)(grpcurl.path, [
      "-plaintext",
      `127.0.0.1:${app.port}`,
      "list",
    ]);
    expect(stdout).toContain("gomemory.status.v1.StatusService\n");
  });
});
