import type { ReqId } from "../../src/status/req-id.ts";
import type { Database } from "../../src/store/database.ts";
import { openDatabase } from "../../src/store/database.ts";
import { createJobLedger } from "../../src/store/jobs/job-ledger.ts";
import { openReplica, type Replica } from "../../src/store/replica/replica.ts";
import { migrate } from "../../src/store/schema/migrate.ts";
import { type Primary, type Standby, startPrimary } from "./standby.ts";
import { newReqId, poolOptions } from "./store.ts";

/** A migrated primary, opened as the service opens it, with a standby. */
export interface Replicated extends AsyncDisposable {
  readonly primary: Primary;
  readonly database: Database;
  readonly standby: Standby;
  /** @returns the id of a new pending job. */
  submit(): Promise<ReqId>;
  /** @param as replaces parts of the primary. */
  openReplica(
    url: string,
    options: Partial<Parameters<typeof openReplica>[1]>,
    as?: Partial<Database>,
  ): Replica;
}

/** The default bound, in milliseconds: longer than any test takes. */
export const maxStaleness = 600_000;

export async function startReplicated(): Promise<Replicated> {
  await using started = new AsyncDisposableStack();
  const primary = started.use(await startPrimary());
  const database = started.use(openDatabase({ url: primary.url, size: 3, ...poolOptions, onBreaker() {} }));
  await migrate(database.db);
  const ledger = createJobLedger(database.db);
  const standby = await primary.addStandby();
  const running = started.move();
  return {
    primary,
    database,
    standby,
    async submit() {
      const reqId = newReqId();
      await ledger.create(reqId);
      return reqId;
    },
    openReplica: (url, options, as = {}) =>
      openReplica({ ...database, ...as }, { url, size: 3, ...poolOptions, maxStaleness, ...options }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
