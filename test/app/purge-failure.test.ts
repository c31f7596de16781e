import pg from "pg";
import { expect, test } from "vitest";
import { purgeFailure } from "../../src/app/purge-failure.ts";
import { PurgeDenied } from "../../src/store/jobs/retention.ts";
import { SchemaError } from "../../src/store/schema/schema-error.ts";

function serverError(severity: string, code: string): pg.DatabaseError {
  return Object.assign(new pg.DatabaseError("of a test", 0, "error"), { severity, code });
}

test.for([
  { name: "no right to execute the function", error: new PurgeDenied("no"), means: "denied" },
  { name: "insufficient_privilege", error: serverError("ERROR", "42501"), means: "denied" },
  { name: "invalid_password", error: serverError("FATAL", "28P01"), means: "denied" },
  { name: "no entry in pg_hba.conf", error: serverError("FATAL", "28000"), means: "denied" },
  { name: "a schema that is not migrated", error: new SchemaError("no"), means: "unavailable" },
  { name: "a standby", error: serverError("ERROR", "25006"), means: "unavailable" },
  { name: "no such database", error: serverError("FATAL", "3D000"), means: "unavailable" },
  { name: "too many connections", error: serverError("FATAL", "53300"), means: "unavailable" },
  { name: "a server that stops", error: serverError("FATAL", "57P01"), means: "unavailable" },
  {
    name: "a batch of one row that took too long",
    error: serverError("ERROR", "57014"),
    means: "unavailable",
  },
  { name: "a lost connection", error: new Error("Connection terminated unexpectedly"), means: "unavailable" },
  { name: "an error of a trigger", error: serverError("ERROR", "P0001"), means: "failure" },
  { name: "a foreign key", error: serverError("ERROR", "23503"), means: "failure" },
  { name: "a bug", error: new TypeError("undefined is not a function"), means: "failure" },
])("$name: $means", ({ error, means }) => expect(purgeFailure(error)).toBe(means));
