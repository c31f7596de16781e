/** Asks the service over REST by the `fetch` of Bun and Deno, with `--ca` over TLS. */
import { readFileSync } from "node:fs";
import process from "node:process";
import { option, serve } from "./wire.js";

const ca = option("ca");
const how = ca === undefined ? {} : trusting(readFileSync(ca, "utf8"));

await serve(async (reqId, signal) => {
  const response = await fetch(`${option("target")}/get_status/${reqId}`, { ...how, signal });
  const reason = response.headers.get("error-reason") ?? undefined;
  return { rest: { status: response.status, reason, body: await response.text() } };
});
process.exit();

/** What each of them has to be given to trust a certificate. */
function trusting(certificate) {
  if (globalThis.Deno === undefined) return { tls: { ca: certificate } };
  return { client: globalThis.Deno.createHttpClient({ caCerts: [certificate], http1: false }) };
}
