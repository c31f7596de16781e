import { StringDecoder } from "node:string_decoder";
import type { Request } from "../connections.ts";
import { goneState, isFinal, stateOfJson } from "../states.ts";
import { brokenOff, nothingMore, type Reader, timeOver } from "./reader.ts";

/** The default of MAX_WAIT, in seconds. */
export const longestWait = 30;

/** A long poll over REST, of one request. @param wait in seconds. */
export function longPollRequest(reqId: string, wait: number): Request {
  return { path: `/get_status/${reqId}?wait=${wait.toFixed(3)}s`, headers: {} };
}

export function longPollReader(reqId: string): Reader {
  const decoder = new StringDecoder("utf8");
  let body = "";
  return {
    read(bytes) {
      body += decoder.write(bytes);
      return nothingMore;
    },
    end({ status, reason, isWhole }) {
      if (!isWhole) return { states: nothingMore, outcome: brokenOff };
      if (reason === "STATUS_NOT_FOUND") return { states: [goneState(reqId)], outcome: "OK" };
      if (status !== 200) return { states: nothingMore, outcome: reason ?? `HTTP ${status}` };
      const state = stateOfJson(reqId, body);
      return { states: [state], outcome: isFinal(state) ? "OK" : timeOver };
    },
  };
}
