import { setTimeout as pause } from "node:timers/promises";
import { type Kysely, sql } from "kysely";
import pg from "pg";
import { isConnectionLost } from "../connections/connection-loss.ts";
import { createList, readList, record } from "./migration-list.ts";
import { describeHolders, isLockFailure, MigrationBlocked, takeLock } from "./migration-lock.ts";
import { type Migration, migrations as released } from "./migrations/migrations.ts";
import { compare } from "./schema.ts";
import { SchemaError } from "./schema-error.ts";
import type { Tables } from "./tables.ts";

export interface MigrateOptions {
  /** Instead of those of this version. */
  readonly migrations?: readonly Migration[];
  /** How long, in milliseconds, a migration is tried again while other processes hold a lock that it needs. */
  readonly maxWait?: number;
  /** Ends the pauses between two attempts. The caller cancels the statement that runs. */
  readonly signal?: AbortSignal;
}

export interface Migrated {
  /** The names of the migrations that were run, none when the schema was current. */
  readonly ran: readonly string[];
  /** The migrations that a newer version has run. If there are any, nothing was changed. */
  readonly unknown: readonly string[];
}

/**
 * How long, in milliseconds, a statement of a migration may wait for a lock. Other statements queue behind it meanwhile: this
 * is how long one attempt can delay them.
 */
const lockTimeout = 250;

/** The shortest pause between two attempts, in milliseconds. The longest is twice that. */
const lockPause = 500;

/**
 * Brings the schema up to this version: the first schema of the search path, where `create table` would make a table.
 * Several processes may migrate at the same time; each migration runs once.
 *
 * @param db two of its connections are used at once, for a migration that runs outside a transaction.
 * @throws SchemaError when there is no schema, or a table that was not made by a migration; MigrationBlocked; the driver's
 *   first error; the signal's reason.
 */
export async function migrate(db: Kysely<Tables>, options: MigrateOptions = {}): Promise<Migrated> {
  const { migrations = released, maxWait = 60_000, signal } = options;
  const schema = await targetSchema(db);
  const ran: string[] = [];
  for (let deadline = performance.now() + maxWait; ; ) {
    signal?.throwIfAborted();
    const { exists, names } = await knownList(db, schema);
    const { missing, unknown } = compare(names, migrations);
    if (unknown.length > 0 || (exists && missing.length === 0)) return { ran, unknown };
    const outcome = await tryNext(db, schema, migrations);
    if (outcome !== blocked) {
      if (outcome !== undefined) ran.push(outcome);
      deadline = performance.now() + maxWait;
    } else if (performance.now() > deadline) {
      const holders = await describeHolders(db, schema);
      throw new MigrationBlocked(
        `migration ${missing[0]} could not get its lock within ${maxWait / 1_000} s. ` +
          (holders === ""
            ? "Which process holds it is not known: try again later"
            : `It is held by process ${holders}: wait until that has ended, or end it with pg_terminate_backend, and try again`),
      );
    } else {
      await pause(lockPause * (1 + Math.random()), undefined, { signal }).catch(() =>
        signal?.throwIfAborted(),
      );
    }
  }
}

const blocked = Symbol("another process holds the lock");

/** Runs the first missing migration. @returns its name; undefined when another process has run it meanwhile. */
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
    // After a lost connection the rollback fails as well: the first error is the cause.
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
  // The transaction stays open, and with it the lock, while the migration runs on another connection.
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
const temporary = /^(08|40|53|55|57|58)/;

/** Whether a migration that failed will fail again until the database, its roles or the settings are changed. */
export function isDefinite(error: unknown): boolean {
  if (error instanceof SchemaError) return true;
  return error instanceof pg.DatabaseError && !isConnectionLost(error) && !temporary.test(error.code ?? "");
}
