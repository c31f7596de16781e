import { notKeptMessage } from "../ha/not-kept.ts";
import type { Fault } from "./faults.ts";
import type { Rig } from "./rig.ts";
import { createUpgradablePostgres, versions } from "./upgradable-postgres.ts";

/** The server of these faults. */
export const upgradable = createUpgradablePostgres();

/** An upgrade of PostgreSQL underneath the service. */
export const upgradeFaults: readonly Fault[] = [
  {
    name: `upgrade of PostgreSQL ${versions.old.major} to ${versions.new.major}: stop, \`pg_upgrade\`, start`,
    outage: true,
    // It lasts until pg_upgrade is done.
    lasts: 0,
    keeps,
    async inject(rig) {
      await rig.stop();
      await upgradable.upgrade();
      return rig.restart;
    },
  },
];

/** What stays, as texts. Jobs that have succeeded are never changed again, whatever producers do. */
const lasting = `
  select concat_ws(' ', 'job', to_jsonb(j)) as text from memory_job j where status = 'success'
  union all select concat_ws(' ', 'migration', to_jsonb(m)) from memory_job_migration m
  union all select concat_ws(' ', 'table', relname, reloptions, relacl) from pg_class where relname ~ '^memory_job' and relkind = 'r'
  union all select concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid) from pg_index where indrelid = 'memory_job'::regclass
  union all select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'memory_job'::regclass
  union all select concat_ws(' ', pg_get_triggerdef(oid), tgenabled) from pg_trigger where tgrelid = 'memory_job'::regclass
  union all select concat_ws(' ', pg_get_functiondef(oid), proacl) from pg_proc where proname ~ '^memory_job'`;

/** The data and the schema are those of before, the server is of the new version, and statements are still prepared. */
async function keeps(rig: Rig): Promise<() => Promise<string[]>> {
  const before = await rig.query<{ text: string }>(lasting);
  return async () => {
    const after = new Set((await rig.query<{ text: string }>(lasting)).map(({ text }) => text));
    const lost = before.map(({ text }) => text).filter((text) => !after.has(text));
    const [{ version } = { version: "none" }] = await rig.query<{ version: string }>(
      "select current_setting('server_version') as version",
    );
    const notKept = rig.service.logs.map(({ msg }) => msg).filter((msg) => msg.startsWith(notKeptMessage));
    return [
      ...lost.map((text) => `lost: ${text}`),
      ...(version.startsWith(`${versions.new.major}.`) ? [] : [`the version is ${version}`]),
      ...notKept,
    ];
  };
}
