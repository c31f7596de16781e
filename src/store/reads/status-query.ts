import { type CompiledQuery, type Kysely, type SelectQueryBuilder, sql } from "kysely";
import { StatusError, unreadableStatus } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import { type JobState, type JobStatus, longestError } from "../../status/status.ts";
import type { PolledStatus } from "../../status/status-store.ts";
import type { Tables } from "../schema/tables.ts";
import type { Row } from "./text-query.ts";

/**
 * Numbers of ids for which there are statements with a parameter for each id. PostgreSQL knows how many those are, and keeps
 * their plan once they are prepared. It takes an array in one parameter for ten ids, and for fewer plans each time: of two
 * ids, that takes a third of the statement's time.
 */
const fewIds = [2, 4, 8];

/** The statements that read statuses, compiled once. Each batch puts its own ids in. */
export interface StatusQueries {
  /** One index probe an id. No join, no count: the hot path. An engine that shards the table routes one id exactly. */
  byIds(ids: readonly ReqId[]): CompiledQuery;
  /** The same for calls that wait, with what {@link readPolledRow} needs besides. */
  polledByIds(ids: readonly ReqId[]): CompiledQuery;
  /**
   * Whether a statement's generic plan asks only the servers that store its ids. PostgreSQL prunes partitions by a parameter that
   * is one id, and not by one that is an array (partprune.c): such a plan asks every server, and fails when one is unavailable.
   *
   * @param sql the statement's text.
   */
  prunesAtRunTime(sql: string): boolean;
  /** The same, for no row: it fails when statuses cannot be read here, and touches no shard. */
  readonly none: CompiledQuery;
}

export function statusQueries(db: Kysely<Tables>): StatusQueries {
  const live = db
    .selectFrom("memory_job")
    .select([
      "req_id",
      "status",
      "error",
      // Microseconds, exact whatever the session's extra_float_digits, which round what date_part() alone gives. A
      // numeric, as extract() gives, takes the database longer.
      sql<string>`(date_part('epoch', created_at) * 1000000)::bigint`.as("created_at"),
    ])
    // Not created_at > now() - …, which the index on created_at matches: on a table without statistics, PostgreSQL would
    // choose that index for many ids, and read nearly every row.
    .where(sql<boolean>`created_at + interval '24 hours' > now()`);
  const polled = live.select([
    sql<string>`(date_part('epoch', now() - created_at) * 1000)::bigint`.as("age"),
    // Of an infinite time PostgreSQL makes no bigint: the statement would fail, for a value that decides nothing.
    sql<string>`case when isfinite(updated_at) then (date_part('epoch', now() - updated_at) * 1000)::bigint end`.as(
      "since_update",
    ),
  ]);
  const [lookups, polls] = [statementsFor(live), statementsFor(polled)];
  return {
    byIds: lookups.byIds,
    polledByIds: polls.byIds,
    prunesAtRunTime: (sql) => sql !== lookups.many.sql && sql !== polls.many.sql,
    none: live.where(sql<boolean>`false`).compile(),
  };
}

/** @param rows a query for all rows. */
function statementsFor<Output>(rows: SelectQueryBuilder<Tables, "memory_job", Output>) {
  const many = rows.where("req_id", "=", sql<string>`any(${"{}"}::uuid[])`).compile();
  const one = rows.where("req_id", "=", "").compile();
  const few = fewIds.map((length) => {
    const ids = sql.join(Array(length).fill(""));
    return { length, query: rows.where("req_id", "=", sql<string>`any(array[${ids}]::uuid[])`).compile() };
  });
  return {
    many,
    byIds(ids: readonly ReqId[]): CompiledQuery {
      if (ids.length === 1) return { ...one, parameters: ids };
      const statement = few.find(({ length }) => ids.length <= length);
      if (statement === undefined) return { ...many, parameters: [`{${ids.join()}}`] };
      // An id that is asked for twice has one row.
      const repeated = Array(statement.length - ids.length).fill(ids[0]);
      return { ...statement.query, parameters: [...ids, ...repeated] };
    },
  };
}

const states: ReadonlyMap<string | null | undefined, JobState> = new Map(
  (["pending", "processing", "success", "failure"] as const).map((state) => [state, state]),
);

/** The range of RFC 3339 and google.protobuf.Timestamp, in seconds: the years 1 to 9999. */
const earliest = -62_135_596_800;
const latest = 253_402_300_799;

/**
 * Reads a row of {@link StatusQueries}. A table that `migrate` did not make may hold what the contract does not allow.
 *
 * @returns StatusError `STATUS_UNREADABLE` for such a row; its cause names what is wrong, and quotes nothing of the row.
 */
export function readRow([, status, error, createdAtMicros]: Row): JobStatus | StatusError {
  const state = states.get(status);
  const seconds = wholeSeconds(createdAtMicros ?? "");
  if (state === undefined) return unreadable("its status is none of the four");
  if (Number.isNaN(seconds)) return unreadable("its created_at is not a time in whole seconds");
  if (seconds < earliest || seconds > latest)
    return unreadable("its created_at is not of the years 1 to 9999");
  const createdAt = new Date(seconds * 1_000);
  if (typeof error !== "string") {
    if (state === "failure") return unreadable("it is a failure without an error");
    return { status: state, createdAt };
  }
  if (state !== "failure") return unreadable("it has an error and is no failure");
  return { status: state, createdAt, error: cut(error) };
}

/** Reads a row of {@link StatusQueries.polledByIds}, as {@link readRow} does. Without a finite updated_at, it was just changed. */
export function readPolledRow(row: Row): PolledStatus | StatusError {
  const status = readRow(row);
  if (status instanceof StatusError) return status;
  return { ...status, age: Number(row[4]), sinceUpdate: Number(row[5]) };
}

const zero = 48;
const minus = 45;
/** Of a number of microseconds, how many digits are the fraction of a second. */
const fraction = 6;

/**
 * Reads a number of microseconds. Number() takes four times as long, and is not exact for the year 9999.
 *
 * @returns whole seconds; NaN when the text is none, or not of a number.
 */
export function wholeSeconds(microseconds: string): number {
  if (microseconds === "0") return 0;
  const start = microseconds.charCodeAt(0) === minus ? 1 : 0;
  const end = microseconds.length - fraction;
  if (end <= start) return Number.NaN;
  let seconds = 0;
  for (let at = start; at < end; at++) {
    const digit = microseconds.charCodeAt(at) - zero;
    if (digit < 0 || digit > 9) return Number.NaN;
    seconds = seconds * 10 + digit;
  }
  for (let at = end; at < microseconds.length; at++) {
    if (microseconds.charCodeAt(at) !== zero) return Number.NaN;
  }
  return start === 1 ? -seconds : seconds;
}

function unreadable(why: string): StatusError {
  return unreadableStatus(new Error(`the row breaks the contract: ${why}`));
}

/**
 * Rows may be older than the trigger that cuts their errors. Not done by the statement: in SQL_ASCII, left() cuts inside a
 * character. In JavaScript, a character's length is 1 or 2.
 */
function cut(error: string): string {
  if (error.length <= longestError) return error;
  let end = 0;
  for (let count = 0; count < longestError && end < error.length; count++) {
    end += (error.codePointAt(end) as number) > 0xffff ? 2 : 1;
  }
  return error.slice(0, end);
}
