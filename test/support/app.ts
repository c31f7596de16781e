import { type App, startApp } from "../../src/app/app.ts";
import { readConfig } from "../../src/config/config.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { anyMachine } from "./process.ts";

/** The service in this process. */
export interface TestApp extends App {
  readonly url: string;
  /** Its log, line by line. */
  readonly logs: readonly Record<string, unknown>[];
}

/** Several test files at a time make a small machine too slow for the default timeouts. */
const slowMachine = { DATABASE_CONNECT_TIMEOUT: "10s", REQUEST_TIMEOUT: "10s" };

/** Starts the service as `serve` does, on a free port. @param env its settings. */
export async function startTestApp(env: Readonly<Record<string, string>>): Promise<TestApp> {
  const logs: Record<string, unknown>[] = [];
  const log = createLog("debug", { write: (line) => void logs.push(JSON.parse(line)) });
  const config = readConfig({ ...anyMachine, ...slowMachine, ...env }, "serve");
  const app = await startApp(config, log, new AbortController().signal);
  // @grpc/grpc-js does not accept an IP address as the name of a TLS server.
  const origin = env.TLS_CERT ? "https://localhost" : "http://127.0.0.1";
  return {
    ...app,
    url: `${origin}:${app.port}`,
    logs,
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
}
