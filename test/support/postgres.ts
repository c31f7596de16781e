import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startEmbedded } from "../../src/store/embedded/embedded.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** A real PostgreSQL, as its superuser. Each test makes a database of its own on it: see database.ts. */
    postgresUrl: string;
  }
}

/** One PostgreSQL server for the whole run, which nobody needs after a crash. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // pg, which tests use beside the service, takes what is missing in a URL from these.
  for (const name of Object.keys(process.env)) if (/^PG[A-Z]/.test(name)) delete process.env[name];
  const directory = await mkdtemp(join(tmpdir(), "gomemory-status-test-"));
  const postgres = await startEmbedded({
    directory,
    settings: {
      fsync: "off",
      synchronous_commit: "off",
      full_page_writes: "off",
      autovacuum: "off",
      shared_buffers: "32MB",
      max_connections: "200",
    },
  });
  project.provide("postgresUrl", postgres.url);
  return async () => {
    await postgres[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  };
}
