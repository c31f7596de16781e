import type { CompiledQuery } from "kysely";
import type pg from "pg";
import type { PgQuery } from "../connections/pg-internals.ts";
import type { PreparedOnConnection } from "./prepared-statements.ts";
import { encodeStatements, type Sending } from "./statement-messages.ts";

const select = "SELECT ";

/** A row as the texts that PostgreSQL sent, in the order of the columns. */
export type Row = readonly (string | null)[];

/**
 * A statement, or two in one transaction, whose columns are known and whose parameters are texts.
 *
 * It asks for no description of the columns and converts nothing: for a batch of 16 ids that spares this process
 * more than a quarter of the work (`npm run bench:micro`). Kysely has built and typed the query, which is a SELECT.
 */
export class TextQuery implements PgQuery {
  readonly rows: Promise<readonly Row[]>;
  readonly #queries: readonly CompiledQuery[];
  readonly #prepared: PreparedOnConnection | undefined;
  /** How each of the queries was sent, and when. */
  #sendings: readonly Sending[] = [];
  #sentAt = 0;
  readonly #received: Row[] = [];
  #completed = 0;
  #announced = 0;
  readonly #resolve: (rows: readonly Row[]) => void;
  readonly #reject: (error: unknown) => void;

  /**
   * @param queries their rows come one after the other.
   * @param prepared what the connection has prepared: what it has not, it prepares now. Absent: the queries are unnamed.
   */
  constructor(queries: readonly CompiledQuery[], prepared?: PreparedOnConnection) {
    this.#queries = queries;
    this.#prepared = prepared;
    const { promise, resolve, reject } = Promise.withResolvers<readonly Row[]>();
    this.rows = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  submit({ stream }: pg.Connection): void {
    const prepared = this.#prepared;
    this.#sentAt = performance.now();
    this.#sendings = this.#queries.map(({ sql }) => {
      if (prepared === undefined || !prepared.mayPrepare(sql)) return "unnamed";
      return prepared.has(sql) ? "prepared" : "prepare";
    });
    // All in one write: pg itself writes each message by itself.
    stream.write(encodeStatements(this.#queries, this.#sendings));
  }

  handleDataRow(message: { fields: Row }): void {
    this.#received.push(message.fields);
  }

  handleReadyForQuery(): void {
    // A row that is missing from the answer must not read as "there is none".
    const isWhole = this.#completed === this.#queries.length && this.#announced === this.#received.length;
    if (isWhole) this.#resolve(this.#received);
    else this.#reject(new Error("the database's answer is incomplete"));
  }

  handleError(error: unknown): void {
    this.#reject(error);
  }

  /** @param message its text is `SELECT` and the number of rows. */
  handleCommandComplete({ text }: { text: string }): void {
    const index = this.#completed++;
    // Only now is it certain that its Parse took effect.
    if (this.#sendings[index] === "prepare") {
      this.#prepared?.add((this.#queries[index] as CompiledQuery).sql, this.#sentAt);
    }
    this.#announced += text.startsWith(select) ? Number(text.slice(select.length)) : Number.NaN;
  }
}
