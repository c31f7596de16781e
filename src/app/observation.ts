import type { Config } from "../config/config.ts";
import type { Tokens } from "../server/tokens.ts";
import { logCalls } from "../telemetry/call-log.ts";
import type { ListenToCalls } from "../telemetry/calls.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics/metrics.ts";

/** @returns what observes every call: the log, and the metrics unless they are off. */
export function callListeners(
  config: Config,
  log: Log,
  metrics: Metrics | undefined,
  tokens: Tokens | undefined,
): ListenToCalls[] {
  const listeners = [logCalls(log, config.LOG_REQUESTS)];
  if (metrics !== undefined) listeners.push(metrics.calls);
  if (metrics !== undefined && tokens !== undefined) listeners.push(metrics.watchCallers(tokens.names));
  return listeners;
}
