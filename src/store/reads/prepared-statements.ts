import type { PooledConnection } from "../connections/connections.ts";
import { sqlStateOf } from "./statement-errors.ts";

/**
 * `auto`: statements are prepared, unless the connections turn out to lead to a pooler that does not keep them. `on`: they
 * are whatever happens. `off`: they never are.
 */
type PreparedStatementsMode = "auto" | "on" | "off";

export interface PreparedStatementsOptions {
  /** Default: `auto`. */
  readonly preparedStatements?: PreparedStatementsMode;
  /** With `auto`, how long, in milliseconds, statements are unnamed after a prepared one was not kept. Default: a minute. */
  readonly unnamedDuration?: number;
  /**
   * How long, in milliseconds, a prepared statement is used. Default: a second. Its generic plan is made for the table as it
   * was: the plan for a few rows stays in use until ANALYZE has seen the many that came since. To prepare one costs as much as
   * an unnamed one.
   */
  readonly longestUse?: number;
  /** Whether a statement may be prepared at all, by its text. Default: each may. */
  readonly mayPrepare?: (sql: string) => boolean;
  /** Called when a prepared statement was not kept, at most once in {@link unnamedDuration}. @param error the database's. */
  readonly onNotKept?: (error: unknown) => void;
}

/** Which statements a connection has prepared. */
export interface PreparedOnConnection {
  /** @param sql the statement's text. */
  has(sql: string): boolean;
  /** @returns false: the statement is to be unnamed. */
  mayPrepare(sql: string): boolean;
  /** @param at when its Parse message was sent, in milliseconds of `performance.now()`. */
  add(sql: string, at: number): void;
}

/** Which statements the connections of one pool have prepared. */
export interface PreparedStatements {
  /** @returns undefined: its next statement is to be unnamed. */
  on(connection: PooledConnection): PreparedOnConnection | undefined;
  /** The statement that failed with this error did not when it was unnamed. All connections prepare theirs anew. */
  notKept(error: unknown): void;
}

const defaultLongestUse = 1_000;
const defaultUnnamedDuration = 60_000;

export function createPreparedStatements({
  preparedStatements: mode = "auto",
  unnamedDuration = defaultUnnamedDuration,
  longestUse = defaultLongestUse,
  mayPrepare = () => true,
  onNotKept = () => {},
}: PreparedStatementsOptions = {}): PreparedStatements {
  const connections = new WeakMap<PooledConnection, PreparedOnConnection>();
  /** What was prepared before is not used any more. */
  let validFrom = 0;
  let notKeptAt = Number.NEGATIVE_INFINITY;

  function create(): PreparedOnConnection {
    const preparedAt = new Map<string, number>();
    return {
      has(sql) {
        const at = preparedAt.get(sql);
        return at !== undefined && at >= validFrom && performance.now() - at < longestUse;
      },
      mayPrepare,
      add: (sql, at) => void preparedAt.set(sql, at),
    };
  }

  return {
    on(connection) {
      if (mode === "off") return undefined;
      if (mode === "auto" && performance.now() - notKeptAt < unnamedDuration) return undefined;
      let prepared = connections.get(connection);
      if (prepared === undefined) {
        prepared = create();
        connections.set(connection, prepared);
      }
      return prepared;
    },
    notKept(error) {
      const now = performance.now();
      validFrom = now;
      if (now - notKeptAt < unnamedDuration) return;
      notKeptAt = now;
      onNotKept(error);
    },
  };
}

/**
 * SQLSTATE classes with which a prepared statement fails that would not fail unnamed: its name is unknown (26000) or used
 * (42P05), its columns have changed (0A000, "cached plan must not change result type") or those that its parameters are
 * compared with (42883).
 */
const ofThePreparedStatement = /^(0A|26|42)/;

/** Whether a prepared statement may have failed for being prepared. */
export function mayConcernPreparation(error: unknown): boolean {
  return ofThePreparedStatement.test(sqlStateOf(error));
}
