import type { Config } from "../config/config.ts";
import type { Limits } from "../server/limits.ts";
import type { Log } from "../telemetry/log.ts";
import { connectionsWithin } from "./open-files.ts";

/** @returns the limits of client connections. Logs when the operating system allows fewer connections than MAX_CONNECTIONS. */
export function limitsOf(config: Config, log: Log): Limits {
  return {
    maxConnections: connectionsWithin(config, log),
    maxConcurrentStreams: config.MAX_CONCURRENT_STREAMS,
    maxStreamResets: config.MAX_STREAM_RESETS,
    maxHeaderSize: config.MAX_HEADER_SIZE,
    peerTimeout: config.PEER_TIMEOUT,
    idleTimeout: config.IDLE_TIMEOUT,
    keepAliveTime: config.KEEPALIVE_TIME,
    keepAliveTimeout: config.KEEPALIVE_TIMEOUT,
    maxConnectionAge: config.MAX_CONNECTION_AGE,
    maxConnectionAgeGrace: config.MAX_CONNECTION_AGE_GRACE,
  };
}
