import type { Config } from "../config/config.ts";
import { abortable } from "../status/abort.ts";
import { openMigrator } from "../store/schema/migrator.ts";
import { newerSchema } from "../store/schema/schema.ts";
import type { Log } from "../telemetry/log.ts";
import { connectionOptions } from "./database.ts";
import { openUrl } from "./embedded.ts";

/** Brings the schema of the configured or of the embedded database up to this version. @throws as {@link migrateDatabase}. */
export async function migrateApp(config: Config, log: Log, signal: AbortSignal): Promise<void> {
  await using database = await openUrl(config, log, signal);
  await migrateDatabase(config, database.url, log, signal);
}

/**
 * Brings the schema up to this version.
 *
 * @throws SchemaError, MigrationBlocked, the error of the driver, the signal's reason: the statements are cancelled.
 */
export async function migrateDatabase(
  config: Config,
  url: string,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  await using migrator = openMigrator({ ...connectionOptions(config, url, log), signal });
  const { ran, unknown } = await abortable(migrator.migrate(), signal);
  if (ran.length > 0) log.info({ migrations: ran }, "migrated the database");
  else if (unknown.length === 0) log.info({ migrations: ran }, "the database needs no migration");
  if (unknown.length > 0) log.warn(`${newerSchema(unknown)}: nothing is migrated`);
}
