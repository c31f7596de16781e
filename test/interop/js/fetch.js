/** Calls the service over REST by the `fetch` of Bun and Deno, with `--ca` over TLS. */
import { readFileSync } from "node:fs";
import process from "node:process";
import { option, serve } from "./wire.js";

const ca = option("ca");
const tlsOptions = ca === undefined ? {} : trusting(readFileSync(ca, "utf8"));

await serve(async (reqId, signal) => {
  const response = await fetch(`${option("target")}/get_status/${reqId}`, { ...tlsOptions, signal });
  const reason = response.headers.get("error-reason") ?? undefined;
  return { rest: { status: response.status, reason, body: await response.text() } };
});
process.exit();

/** The options of each runtime's `fetch` for a trusted certificate. */
function trusting(certificate) {
  if (globalThis.Deno === undefined) return { tls: { ca: certificate } };
  return { client: globalThis.Deno.createHttpClient({ caCerts: [certificate], http1: false }) };
}
