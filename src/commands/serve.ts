import manifest from "../../package.json" with { type: "json" };
import type { App } from "../app/app.ts";
import type { Config } from "../config/config.ts";
import { redactConfig } from "../config/redact.ts";
import { runUntilSignal } from "./run-until-signal.ts";
import { untilAborted } from "./stop-signal.ts";

// Signals come first: the kernel ignores those that the first process of a container does not handle, and a stop
// would be lost. So ./app.ts, which takes most of the time that a start takes, is loaded after that.
const loadApp = () => import("../app/app.ts");

/** Serves until a signal tells it to stop. @returns the exit code. */
export function serve(config: Config): Promise<number> {
  return runUntilSignal(config, 0, async ({ log, output, signal }) => {
    log.info(
      { version: manifest.version, node: process.version, settings: redactConfig(config) },
      "starting",
    );
    const { startApp } = await loadApp();
    await using app = await startApp(config, log, signal, output);
    log.info({ port: app.port, ...app.access }, "listening");
    if (app.embedded !== undefined) output.print(introduction(app, app.embedded));
    await untilAborted(signal);
    log.info("stopping");
  });
}

/** Migrates the database. @returns the exit code: whoever goes on after a 0 finds the database migrated. */
export function migrate(config: Config): Promise<number> {
  return runUntilSignal(config, 1, async ({ log, signal }) => {
    const { migrateApp } = await loadApp();
    await migrateApp(config, log, signal);
  });
}

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
