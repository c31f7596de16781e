import { setTimeout as pause } from "node:timers/promises";
import type { Config } from "../config/config.ts";
import { abortable } from "../status/abort.ts";
import { isDefinite } from "../store/schema/migrate.ts";
import type { Log } from "../telemetry/log.ts";
import type { DatabaseUrl } from "./database-url.ts";
import { migrateDatabase } from "./migrate.ts";

/** A migration that may continue while the service starts and serves. Disposing of it cancels it. */
interface PendingMigration extends AsyncDisposable {
  readonly done: boolean;
  /** @throws Error until the database is migrated; its cause is the last failure. */
  check(): void;
}

/** Pauses between two attempts, in milliseconds, plus or minus half: while the database does not answer, and after it refused. */
const pauseUnanswered = 500;
const pauseRefused = 2_000;

/**
 * Migrates the database as soon as it answers, without a limit of time.
 *
 * @returns when the database is migrated; or when the first attempt failed for a reason that may pass, or takes longer than
 *   a connection and a call may take: then attempts continue.
 * @throws a refusal that will not pass, during the start (SchemaError, permission denied); the signal's reason.
 */
export async function startMigration(
  config: Config,
  url: DatabaseUrl,
  log: Log,
  signal: AbortSignal,
): Promise<PendingMigration> {
  const stopping = new AbortController();
  const stop = AbortSignal.any([signal, stopping.signal]);
  const started = Promise.withResolvers<void>();
  let starting = true;
  let done = false;
  let failure: unknown;

  const continueStart = (message: string, err?: unknown) => {
    starting = false;
    log.error(err === undefined ? {} : { err }, `${message}: starting all the same, not ready until it is`);
    started.resolve();
  };
  const startTimeout = setTimeout(
    () => continueStart("the database is not migrated yet"),
    config.DATABASE_CONNECT_TIMEOUT + config.REQUEST_TIMEOUT,
  );

  async function run(): Promise<void> {
    for (;;) {
      try {
        await migrateDatabase(config, url.current, log, stop);
        done = true;
        return started.resolve();
      } catch (err) {
        if (stop.aborted) return started.reject(stop.reason);
        const definite = isDefinite(err);
        if (starting && definite) return started.reject(err);
        if (starting) continueStart("the database cannot be migrated", err);
        else if (String(err) !== String(failure))
          log.error({ err }, "the database cannot be migrated: trying again");
        failure = err;
        await pause((definite ? pauseRefused : pauseUnanswered) * (0.5 + Math.random()), undefined, {
          signal: stop,
        }).catch(() => {});
      }
    }
  }

  const running = run();
  const dispose = async () => {
    stopping.abort(new Error("the service is stopping"));
    await running;
  };
  try {
    await abortable(started.promise, signal);
  } catch (err) {
    await dispose();
    throw err;
  } finally {
    clearTimeout(startTimeout);
  }
  return {
    get done() {
      return done;
    },
    check() {
      if (!done) throw new Error("the database is not migrated yet", { cause: failure });
    },
    [Symbol.asyncDispose]: dispose,
  };
}
