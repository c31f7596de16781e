import manifest from "../../package.json" with { type: "json" };
import type { App } from "../app/app.ts";
import type { Config } from "../config/config.ts";
import { redactConfig } from "../config/redact.ts";
import { whenAborted } from "../status/abort.ts";
import { type ExitCode, exitCodes } from "./exit-codes.ts";
import { runUntilTerminated } from "./run-until-terminated.ts";

/** Serves until a signal terminates it. */
export function serve(config: Config): Promise<ExitCode> {
  return runUntilTerminated(config, exitCodes.success, async ({ log, output, signal }) => {
    log.info(
      { version: manifest.version, node: process.version, settings: redactConfig(config) },
      "starting",
    );
    // Loading this takes most of the start. Signals are handled before: the kernel discards those for which the first process
    // of a container has no handler, and a stop would be lost.
    const { startApp } = await import("../app/app.ts");
    await using app = await startApp(config, log, signal, output);
    log.info({ port: app.port, ...app.access }, "listening");
    if (app.embedded !== undefined) output.print(introduction(app, app.embedded));
    await whenAborted(signal);
    log.info("stopping");
  });
}

/** @returns commands to try the service with, whose database is the embedded one. */
function introduction({ port, access }: App, { postgres, samples }: NonNullable<App["embedded"]>): string {
  const scheme = access.tls === "off" ? "http" : "https";
  const plaintext = access.tls === "off" ? " -plaintext" : "";
  const token = access.callers === "everybody" ? "" : ` -H "Authorization: Bearer $TOKEN"`;
  const rest = samples.map(
    ({ status, reqId }) => `  curl${token} ${scheme}://localhost:${port}/get_status/${reqId}  # ${status}`,
  );
  const grpc = samples
    .slice(0, 1)
    .map(
      ({ reqId }) =>
        `  grpcurl${plaintext}${token} -d '{"req_id":"${reqId}"}' localhost:${port} gomemory.status.v1.StatusService/GetStatus`,
    );
  return `
The status service runs on port ${port}, its PostgreSQL in ${postgres.dataDirectory} on port ${postgres.port}:
  psql '${postgres.url}'

Ask it:
${[...rest, ...grpc].join("\n")}
  grpcurl${plaintext}${token} localhost:${port} list

`;
}
