import { type HttpRequest, type HttpResponse, refuseOtherMethods, sendJson } from "../protocols/http.ts";
import type { Readiness } from "../status/readiness.ts";

/** What `/metrics` answers with. */
export interface MetricsText {
  readonly contentType: string;
  text(): Promise<string>;
}

/** Answers a request. When it rejects, the router answers with INTERNAL, and logs why. */
export type Probe = (request: HttpRequest, response: HttpResponse) => Promise<void> | void;

/** The probes that need no token: orchestrators and load balancers have none, and the answer is one word. */
export const openProbes = ["/healthz", "/readyz"];

/** No web page has a use for it, so that CORS never allows it. */
export const metricsPath = "/metrics";

/** The routes for operators and orchestrators, by their paths. @param metrics absent: there is no `/metrics`. */
export function createProbes(readiness: Readiness, metrics?: MetricsText): ReadonlyMap<string, Probe> {
  const probes = new Map<string, Probe>([
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
        const state = await readiness.state();
        sendJson(request, response, state === "not ready" ? 503 : 200, `{"status":"${state}"}`);
      },
    ],
  ]);
  if (metrics !== undefined) {
    /** Concurrent requests share one text: writing it takes a millisecond, and a client may ask often. */
    let writing: Promise<Buffer> | undefined;
    const write = async () => {
      try {
        return Buffer.from(await metrics.text());
      } finally {
        writing = undefined;
      }
    };
    probes.set(metricsPath, async (request, response) => {
      if (refuseOtherMethods(request, response)) return;
      writing ??= write();
      const text = await writing;
      response.writeHead(200, {
        "Content-Type": metrics.contentType,
        "Content-Length": text.length,
      });
      if (request.method === "HEAD") response.end();
      else response.end(text);
    });
  }
  return probes;
}
