import { expect } from "vitest";
import { parseReqId } from "../../src/status/req-id.ts";
import type { StatusStore } from "../../src/status/status-store.ts";
import { callWithin } from "./store.ts";

/** Calls without a pause, until they are ended. */
interface Load {
  /** How many calls were answered. */
  readonly answers: number;
  /** @returns how many calls were answered. Rejects when one failed. */
  end(): Promise<number>;
}

/** Asks for a job whose status is `success`. @param callers how many calls there are at the same time. */
export function startLoad(store: Pick<StatusStore, "find">, reqId: string, callers = 100): Load {
  let ended = false;
  let answers = 0;
  const id = parseReqId(reqId);
  const all = Promise.all(
    Array.from({ length: callers }, async () => {
      for (; !ended; answers++) {
        expect(await store.find(id, callWithin())).toMatchObject({ status: "success" });
      }
    }),
  );
  all.catch(() => {});
  return {
    get answers() {
      return answers;
    },
    async end() {
      ended = true;
      await all;
      return answers;
    },
  };
}
