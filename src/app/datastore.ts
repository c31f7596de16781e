import type { Config } from "../config/config.ts";
import type { DatastoreState } from "../status/readiness.ts";
import type { StatusStore } from "../status/status-store.ts";
import type { EmbeddedPostgres } from "../store/embedded/embedded.ts";
import type { ExampleJob } from "../store/embedded/example-jobs.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics/metrics.ts";
import { checkDatabase, openPrimary, openReplicaOf } from "./database.ts";
import { type DatabaseUrl, openDatabaseUrl } from "./database-url.ts";
import { createDatastoreProbe } from "./datastore-probe.ts";
import { sampleJobs, startEmbeddedPostgres } from "./embedded.ts";

/** The primary, the replica if there is one, and what they need. Disposing of it closes everything, in reverse order. */
export interface Datastore extends AsyncDisposable {
  readonly statuses: StatusStore;
  /** The URL of the primary. */
  readonly url: DatabaseUrl;
  /** Rejects while the schema is not migrated, and when neither the primary nor the replica answers. */
  probe(signal: AbortSignal): Promise<DatastoreState>;
  /** Whether the replica, if there is one, may still answer. Asks nothing. */
  isReplicaWithinBound(): boolean;
  readonly embedded?: Embedded;
}

/** The database that was started along with the service, and jobs to ask it for. */
export interface Embedded {
  readonly postgres: EmbeddedPostgres;
  readonly samples: readonly ExampleJob[];
}

/**
 * Opens the datastore, migrated where the settings want that. One that does not answer is opened all the same.
 *
 * @throws SchemaError, what the database refuses to be migrated with, the signal's reason.
 */
export async function openDatastore(
  config: Config,
  log: Log,
  signal: AbortSignal,
  metrics?: Metrics,
): Promise<Datastore> {
  await using opened = new AsyncDisposableStack();
  const postgres =
    config.DATABASE_URL === undefined ? opened.use(await startEmbeddedPostgres(log, signal)) : undefined;
  const url = opened.use(
    openDatabaseUrl(postgres?.url ?? config.DATABASE_URL ?? "", config.DATABASE_URL_FILE, log),
  );
  // Loaded where it is needed: most processes migrate nothing.
  if (postgres !== undefined) {
    const { migrateDatabase } = await import("./migrate.ts");
    await migrateDatabase(config, url.current, log, signal);
  }
  const migration =
    config.MIGRATE && postgres === undefined
      ? opened.use(await (await import("./migration.ts")).startMigration(config, url, log, signal))
      : undefined;

  const primary = opened.use(openPrimary(config, url, log, metrics));
  if (migration?.done ?? true) await checkDatabase(primary, config, log, signal);
  const samples = postgres && (await sampleJobs(primary.db));
  signal.throwIfAborted();
  const { DATABASE_READ_URL: readUrl, DATABASE_READ_URL_FILE: readUrlFile } = config;
  const replica =
    readUrl === undefined
      ? undefined
      : opened.use(
          openReplicaOf(
            primary,
            config,
            opened.use(openDatabaseUrl(readUrl, readUrlFile, log)),
            log,
            metrics,
          ),
        );

  const probePrimary = async (attempt: AbortSignal) => {
    migration?.check();
    await primary.probe(attempt);
  };
  const running = opened.move();
  return {
    statuses: (replica ?? primary).statuses,
    url,
    probe: createDatastoreProbe({ ...primary, probe: probePrimary }, replica),
    isReplicaWithinBound: () => replica?.isWithinBound() === true,
    ...(postgres && samples && { embedded: { postgres, samples } }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
