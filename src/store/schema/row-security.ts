import { CompiledQuery } from "kysely";
import type { Row } from "../reads/text-query.ts";

/** What row-level security does to what the role reads: rows that are hidden read as unknown, without an error. */
export type RowSecurity = "off" | "hides some rows" | "hides every row";

/** Row security is active for a role that is not exempt from it; without a policy that admits rows, it hides them all. */
export const rowSecurityQuery = CompiledQuery.raw(`
  select row_security_active('memory_job'), exists (
    select from pg_policy
    where polrelid = 'memory_job'::regclass and polpermissive and polcmd in ('r', '*')
      and exists (select from unnest(polroles) role where role = 0 or pg_has_role(role, 'usage'))
  )`);

/** @param row of {@link rowSecurityQuery}. */
export function toRowSecurity(row: Row | undefined): RowSecurity {
  const [active, hasPolicy] = row ?? [];
  if (active !== "t") return "off";
  return hasPolicy === "t" ? "hides some rows" : "hides every row";
}

export const everyRowHidden =
  "row-level security hides every row of memory_job from this role, and each job would read as unknown: create a policy " +
  "for the role (create policy … on memory_job for select to … using (true)), or alter role … bypassrls";

export const someRowsHidden =
  "row-level security is active on memory_job for this role: jobs that its policies hide read as unknown";
