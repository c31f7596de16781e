import type { QueryExecutorProvider } from "kysely";
import { up as memoryJob } from "./0001-memory-job.ts";
import { up as errorLimit } from "./0002-error-limit.ts";
import { up as guardSearchPath } from "./0003-guard-search-path.ts";
import { up as createdAtIndex } from "./0004-created-at-index.ts";
import { up as purge } from "./0005-purge.ts";
import { up as storageParameters } from "./0006-storage-parameters.ts";

/** One step of the schema. It must leave the previous version of the service running. */
export interface Migration {
  readonly name: string;
  /**
   * False when its statements must run outside a transaction (`create index concurrently`). No `lock_timeout` applies there,
   * so such a migration must take no lock that reads queue behind. It may be interrupted, so it must be safe to run again,
   * whatever it left behind.
   */
  readonly transaction?: boolean;
  /** @param schema of the table. In a transaction it is the whole search path; outside of one, names must include it. */
  up(db: QueryExecutorProvider, schema: string): Promise<void>;
}

/** In the order in which they run. A migration that was released is never edited: add the next one. */
export const migrations: readonly Migration[] = [
  { name: "0001-memory-job", up: memoryJob },
  { name: "0002-error-limit", up: errorLimit },
  { name: "0003-guard-search-path", up: guardSearchPath },
  { name: "0004-created-at-index", up: createdAtIndex, transaction: false },
  { name: "0005-purge", up: purge },
  { name: "0006-storage-parameters", up: storageParameters },
];
