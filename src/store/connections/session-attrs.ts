import type pg from "pg";
import type { SessionAttrs } from "../url/target.ts";
import type { Wire } from "./wire.ts";

/** A server is not what `target_session_attrs` wants. */
export class WrongSession extends Error {
  override readonly name = "WrongSession";
  readonly code = "ERR_DATABASE_SESSION";
}

/** What a server says of itself, to clients of version 14 and later without being asked; poolers may not. */
interface Reported {
  default_transaction_read_only?: string;
  in_hot_standby?: string;
}

/** Follows what the server reports. @returns a check that asks the server for what it has not reported. */
export function watchSession(client: pg.Client, wire: Wire, onChange: () => void) {
  const reported: Reported = {};
  wire.on(
    "parameterStatus",
    ({ parameterName, parameterValue }: { parameterName: string; parameterValue: string }) => {
      if (parameterName !== "default_transaction_read_only" && parameterName !== "in_hot_standby") return;
      reported[parameterName] = parameterValue;
      onChange();
    },
  );

  return {
    /** @returns what is wrong with the session by what was reported. */
    mismatch: (wanted: SessionAttrs) => mismatch(wanted, isReadOnly(reported), isStandby(reported)),
    /** @throws WrongSession */
    async check(wanted: SessionAttrs): Promise<void> {
      let readOnly = isReadOnly(reported);
      let standby = isStandby(reported);
      if (wanted === "read-write" || wanted === "read-only") {
        readOnly ??= await ask(client, "show transaction_read_only");
      } else if (wanted !== "any") {
        standby ??= await ask(client, "select case when pg_is_in_recovery() then 'on' else 'off' end");
      }
      const why = mismatch(wanted, readOnly, standby);
      const { address, port } = wire.way;
      if (why !== undefined)
        throw new WrongSession(`${address}:${port} is passed over: ${why} (target_session_attrs)`);
    },
  };
}

function isReadOnly({ default_transaction_read_only, in_hot_standby }: Reported): boolean | undefined {
  if (default_transaction_read_only === undefined || in_hot_standby === undefined) return undefined;
  return default_transaction_read_only === "on" || in_hot_standby === "on";
}

function isStandby({ in_hot_standby }: Reported): boolean | undefined {
  return in_hot_standby === undefined ? undefined : in_hot_standby === "on";
}

function mismatch(wanted: SessionAttrs, readOnly?: boolean, standby?: boolean): string | undefined {
  if (wanted === "read-write" && readOnly === true) return "the session is read-only";
  if (wanted === "read-only" && readOnly === false) return "the session is not read-only";
  if (wanted === "primary" && standby === true) return "it is a standby";
  if ((wanted === "standby" || wanted === "prefer-standby") && standby === false) return "it is no standby";
  return undefined;
}

async function ask(client: pg.Client, question: string): Promise<boolean> {
  const { rows } = await client.query<[string]>({ text: question, rowMode: "array" });
  return rows[0]?.[0] === "on";
}
