import { join } from "node:path";
import type { Kysely } from "kysely";
import type { Config } from "../config/config.ts";
import type { EmbeddedPostgres } from "../store/embedded/embedded.ts";
import type { ExampleJob } from "../store/embedded/example-jobs.ts";
import type { Tables } from "../store/schema/tables.ts";
import type { Log } from "../telemetry/log.ts";

// The embedded PostgreSQL is for trying the service out from a checkout. The image has none of its code, so that nothing but
// these functions may load it.

const dataDirectory = join(import.meta.dirname, "../..", ".data");

/** Starts a PostgreSQL in `.data/`, for a service without a DATABASE_URL. @throws Error where its code is not installed. */
export async function startEmbeddedPostgres(log: Log, signal: AbortSignal): Promise<EmbeddedPostgres> {
  const { startEmbedded } = await import("../store/embedded/embedded.ts").catch((cause) => {
    if (cause.code !== "ERR_MODULE_NOT_FOUND") throw cause;
    throw new Error("the embedded PostgreSQL is not part of this installation: set DATABASE_URL", { cause });
  });
  return await startEmbedded({
    directory: dataDirectory,
    signal,
    log: (line) => log.debug({ line }, "postgres"),
  });
}

/** @returns the URL of the configured database, or of the embedded one, which runs until it is disposed of. */
export async function openUrl(
  { DATABASE_URL: url }: Pick<Config, "DATABASE_URL">,
  log: Log,
  signal: AbortSignal,
): Promise<AsyncDisposable & { readonly url: string }> {
  return url === undefined
    ? await startEmbeddedPostgres(log, signal)
    : { url, [Symbol.asyncDispose]: async () => {} };
}

/** @returns jobs of the embedded database to ask for. */
export async function sampleJobs(db: Kysely<Tables>): Promise<readonly ExampleJob[]> {
  const { ensureExampleJobs } = await import("../store/embedded/example-jobs.ts");
  return await ensureExampleJobs(db);
}
