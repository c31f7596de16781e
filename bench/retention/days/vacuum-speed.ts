import type pg from "pg";

const option = "autovacuum_vacuum_cost_delay";

/**
 * Lets autovacuum work on the table without pauses. A simulated day passes in minutes: with its pauses, a vacuum would last
 * for simulated hours. Disposing of it restores what the schema has.
 */
export async function hurryVacuum(admin: pg.Client): Promise<AsyncDisposable> {
  const { rows } = await admin.query<{ value: string | null }>(
    `select (select option_value from pg_options_to_table(reloptions) where option_name = $1) as value
     from pg_class where oid = 'memory_job'::regclass`,
    [option],
  );
  const value = rows[0]?.value ?? undefined;
  await admin.query(`alter table memory_job set (${option} = 0)`);
  return {
    async [Symbol.asyncDispose]() {
      await admin.query(
        value === undefined
          ? `alter table memory_job reset (${option})`
          : `alter table memory_job set (${option} = ${value})`,
      );
    },
  };
}
