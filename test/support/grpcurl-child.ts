/**
 * Stands in for grpcurl in the tests of the documentation: takes the options that the pages use, and calls over gRPC with the
 * `buf curl` of this repository. test/interop runs the real program.
 */
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    plaintext: { type: "boolean" },
    cacert: { type: "string" },
    d: { type: "string" },
    H: { type: "string", multiple: true },
  },
  // grpcurl's options have one hyphen, whatever their length.
  args: process.argv.slice(2).map((word) => (/^-[a-z]{2,}$/.test(word) ? `-${word}` : word)),
});
const [host = "", method = ""] = positionals;
const headers = (values.H ?? []).flatMap((header) => ["--header", header, "--reflect-header", header]);
const security = values.plaintext ? ["--http2-prior-knowledge"] : ["--cacert", values.cacert ?? ""];
const origin = `${values.plaintext ? "http" : "https"}://${host}`;
const call =
  method === "list" ? ["--list-services", origin] : ["--data", values.d ?? "{}", `${origin}/${method}`];
const { status } = spawnSync(
  "node_modules/.bin/buf",
  ["curl", "--protocol", "grpc", ...security, ...headers, ...call],
  { stdio: "inherit" },
);
process.exitCode = status ?? 1;
