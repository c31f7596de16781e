import type { ServerStreamingEndpoint } from "../../src/endpoints/endpoint.ts";
import { getStatus } from "../../src/endpoints/get-status.ts";
import { watchStatus } from "../../src/endpoints/watch-status.ts";
import type { StatusStore } from "../../src/status/status-store.ts";
import type { Watching } from "../../src/status/watching/watching.ts";

/** @returns the endpoint over a store. What waits is left out unless it is given. */
export function getStatusOf(
  find: StatusStore["find"],
  watching: Partial<Pick<Watching, "wait" | "watch">> = {},
) {
  const { wait = refuse, watch = refuse } = watching;
  return getStatus({ find }, { wait }, watchStatus({ watch }) as ServerStreamingEndpoint);
}

function refuse(): never {
  throw new Error("this test has nothing to wait for");
}
