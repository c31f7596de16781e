import { setTimeout as pause } from "node:timers/promises";
import { type Kysely, sql } from "kysely";
import pg from "pg";
import { createList, readList, record } from "./migration-list.ts";
import { describeHolders, isLockFailure, MigrationBlocked, takeLock } from "./migration-lock.ts";
import { type Migration, migrations as released } from "./migrations/migrations.ts";
import { isConnectionLost } from "./pool.ts";
import { compare, SchemaError } from "./schema.ts";
import type { Tables } from "./tables.ts";

export interface MigrateOptions {
  /** Instead of those of this version. */
  readonly migrations?: readonly Migration[];
  /** The longest, in milliseconds, that a migration waits for others who hold a lock. */
  readonly patience?: number;
  /** Ends the pauses. A statement that runs is the caller's to cancel. */
  readonly signal?: AbortSignal;
}

export interface Migrated {
  /** The names of the migrations that were run, none when the schema was current. */
  readonly ran: readonly string[];
  /** Those that a newer version has run. Then nothing was changed. */
  readonly unknown: readonly string[];
}

/**
 * How long, in milliseconds, a statement of a migration may wait for a lock. Whatever it waits for, others queue behind it:
 * this is what a migration may cost them, each time that it tries.
 */
const lockTimeout = 250;

/** Between two tries, in milliseconds: from so long to twice as long. */
const lockPause = 500;

/**
 * Brings the schema up to this version: that which `create table` would use, the first of the search path. Several may do
 * so at once, and each migration runs once.
 *
 * @param db two of its connections are used at once, for a migration that runs outside a transaction.
 * @throws SchemaError when there is no schema, or a table that was not made by a migration; MigrationBlocked; what the driver
 *   said first; the signal's reason.
 */
export async function migrate(db: Kysely<Tables>, options: MigrateOptions = {}): Promise<Migrated> {
  const { migrations = released, patience = 60_000, signal } = options;
  const schema = await targetSchema(db);
  const ran: string[] = [];
  for (let giveUpAt = performance.now() + patience; ; ) {
    signal?.throwIfAborted();
    const { exists, names } = await knownList(db, schema);
    const { missing, unknown } = compare(names, migrations);
    if (unknown.length > 0 || (exists && missing.length === 0)) return { ran, unknown };
    const outcome = await tryNext(db, schema, migrations);
    if (outcome !== blocked) {
      if (outcome !== undefined) ran.push(outcome);
      giveUpAt = performance.now() + patience;
    } else if (performance.now() > giveUpAt) {
      const holders = await describeHolders(db, schema);
      throw new MigrationBlocked(
        `migration ${missing[0]} could not get its lock within ${patience / 1_000} s. ` +
          (holders === ""
            ? "Who holds it is not known: try again later"
            : `It is held by process ${holders}: wait until that has ended, or end it with pg_terminate_backend, and try again`),
      );
    } else {
      await pause(lockPause * (1 + Math.random()), undefined, { signal }).catch(() =>
        signal?.throwIfAborted(),
      );
    }
  }
}

const blocked = Symbol("somebody else holds a lock");

/** Runs the first migration that is missing. @returns its name; undefined when another one has run it meanwhile. */
async function tryNext(
  db: Kysely<Tables>,
  schema: string,
  migrations: readonly Migration[],
): Promise<string | typeof blocked | undefined> {
  let first: unknown;
  try {
    return await db
      .transaction()
      // In any other, this transaction would hold a snapshot all the time: see takeLock.
      .setIsolationLevel("read committed")
      .execute(async (transaction) => {
        try {
          if (!(await takeLock(transaction))) return blocked;
          await sql`set local lock_timeout = ${sql.lit(lockTimeout)}`.execute(transaction);
          await sql`set local idle_in_transaction_session_timeout = 0`.execute(transaction);
          await sql`set local search_path = ${sql.id(schema)}`.execute(transaction);
          return await runNext(transaction, db, schema, migrations);
        } catch (error) {
          first = error;
          throw error;
        }
      });
  } catch (error) {
    // What went wrong first counts, and not that the rollback failed as well.
    const cause = first ?? error;
    if (isLockFailure(cause)) return blocked;
    throw cause;
  }
}

async function runNext(
  transaction: Kysely<Tables>,
  db: Kysely<Tables>,
  schema: string,
  migrations: readonly Migration[],
): Promise<string | undefined> {
  const { exists, names } = await knownList(transaction, schema);
  const { missing, unknown } = compare(names, migrations);
  if (unknown.length > 0) return undefined;
  if (!exists) await createList(transaction, schema, names);
  const next = migrations.find(({ name }) => name === missing[0]);
  if (next === undefined) return undefined;
  // The transaction stays open meanwhile, and with it the lock.
  if (next.transaction === false) await db.connection().execute((connection) => next.up(connection, schema));
  else await next.up(transaction, schema);
  await record(transaction, schema, next.name);
  return next.name;
}

async function targetSchema(db: Kysely<Tables>): Promise<string> {
  const { rows } = await sql<{ schema: string | null; path: string }>`
    select current_schema() as schema, current_setting('search_path') as path`.execute(db);
  const { schema = null, path = "" } = rows[0] ?? {};
  if (schema !== null) return schema;
  throw new SchemaError(
    `no schema of the search_path (${path}) exists that this role may use: create one, grant USAGE and CREATE on it, ` +
      "or set another search_path",
  );
}

async function knownList(
  db: Kysely<Tables>,
  schema: string,
): Promise<{ exists: boolean; names: readonly string[] }> {
  const { exists, names, hasTable } = await readList(db, schema);
  if (names === undefined) {
    throw new SchemaError(
      `this role may not read memory_job_migration in schema ${schema}: migrate as its owner`,
    );
  }
  if (hasTable && names.length === 0) {
    throw new SchemaError(
      `there is a table memory_job in schema ${schema}, and nothing that this role can read says that a migration made it: ` +
        "see memory_job_migration, or kysely_migration of older versions, in the same schema",
    );
  }
  return { exists, names };
}

/** SQLSTATE: connection lost, serialization failure and deadlock, resources, object in use, operator, system. */
const passing = /^(08|40|53|55|57|58)/;

/** Whether a migration that failed will fail again until somebody changes the database, its roles or our settings. */
export function isDefinite(error: unknown): boolean {
  if (error instanceof SchemaError) return true;
  return error instanceof pg.DatabaseError && !isConnectionLost(error) && !passing.test(error.code ?? "");
}
