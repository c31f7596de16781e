import { StringDecoder } from "node:string_decoder";
import type { Request } from "../connections.ts";
import { goneState, type State, stateOfJson } from "../states.ts";
import { brokenOff, nothingMore, type Reader } from "./reader.ts";

/** Server-Sent Events over REST, for one request. */
export function eventsRequest(reqId: string): Request {
  return { path: `/get_status/${reqId}`, headers: { accept: "text/event-stream" } };
}

export function eventsReader(reqId: string): Reader {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  /** The data of the event `end`, or `unavailable`, whose reason says how the stream ended. */
  let reason: string | undefined;
  return {
    read(bytes) {
      const blocks = (rest + decoder.write(bytes)).split("\n\n");
      rest = blocks.pop() ?? "";
      const states: State[] = [];
      for (const block of blocks) {
        const { event, data } = fieldsOf(block);
        if (event === "status") states.push(stateOfJson(reqId, data));
        else if (event === "gone") states.push(goneState(reqId));
        else if (event !== "") reason = JSON.parse(data).reason;
      }
      return states;
    },
    end({ status, reason: failed, isWhole }) {
      const known = reason ?? failed ?? (status === 200 || !isWhole ? brokenOff : `HTTP ${status}`);
      return { states: nothingMore, outcome: known === "FINAL" || known === "GONE" ? "OK" : known };
    },
  };
}

/** The fields of one event. Comments and `retry` have neither an event nor data. */
function fieldsOf(block: string): { event: string; data: string } {
  const fields = { event: "", data: "" };
  for (const line of block.split("\n")) {
    const [, name, value = ""] = /^(event|data): ?(.*)$/.exec(line) ?? [];
    if (name !== undefined) fields[name as "event" | "data"] = value;
  }
  return fields;
}
