import type pg from "pg";
import type { SessionAttrs } from "../url/target.ts";
import { onMessage } from "./pg-internals.ts";
import type { Transport } from "./transport.ts";

/** The session is not of the kind that `target_session_attrs` wants. */
export class WrongSession extends Error {
  override readonly name = "WrongSession";
  readonly code = "ERR_DATABASE_SESSION";
}

/** What a server reports without being asked, from version 14 on; poolers may not pass it on. */
interface Reported {
  default_transaction_read_only?: string;
  in_hot_standby?: string;
}

/** Follows what the server reports. @returns a check that asks the server for what it has not reported. */
export function watchSession(client: pg.Client, transport: Transport, onChange: () => void) {
  const reported: Reported = {};
  onMessage(transport, "parameterStatus", ({ parameterName, parameterValue }) => {
    if (parameterName !== "default_transaction_read_only" && parameterName !== "in_hot_standby") return;
    reported[parameterName] = parameterValue;
    onChange();
  });

  return {
    /** @returns why the session is not of the wanted kind, as far as was reported. */
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
      const { address, port } = transport.way;
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
