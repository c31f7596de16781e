import { type HttpHandler, refuseOtherMethods, sendJson } from "./http.ts";
import type { Readiness } from "./readiness.ts";

/** The routes for those who run the service, by their paths. */
export function createProbes(readiness: Readiness): ReadonlyMap<string, HttpHandler> {
  return new Map<string, HttpHandler>([
    [
      "/healthz",
      (request, response) => {
        if (!refuseOtherMethods(request, response)) sendJson(request, response, 200, `{"status":"alive"}`);
      },
    ],
    [
      "/readyz",
      async (request, response) => {
        if (refuseOtherMethods(request, response)) return;
        const ready = await readiness.ready();
        sendJson(request, response, ready ? 200 : 503, `{"status":"${ready ? "ready" : "not ready"}"}`);
      },
    ],
  ]);
}
