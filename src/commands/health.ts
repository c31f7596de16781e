import { get as getHttp } from "node:http";
import { get as getHttps } from "node:https";
import { connect } from "node:tls";
import { type ExitCode, exitCodes } from "./exit-codes.ts";

/** Maximum time for the service to answer, in milliseconds: less than the `HEALTHCHECK` of the image allows. */
const timeout = 2_000;

/**
 * Asks the service in this container whether it is alive. Containers run this every few seconds: so it loads no settings, and
 * reads the four variables that lead to the service.
 */
export async function checkHealth(env: NodeJS.ProcessEnv): Promise<ExitCode> {
  try {
    const address = addressOf(env);
    if (env.TLS_CLIENT_CA) await shakeHands(address);
    else await getHealthz(address, env.TLS_CERT ? getHttps : getHttp);
    return exitCodes.success;
  } catch (error) {
    process.stderr.write(`not alive: ${describe(error)}\n`);
    return exitCodes.failure;
  }
}

interface Address {
  readonly host: string;
  readonly port: number;
  readonly rejectUnauthorized: false;
}

function addressOf({ HOST, PORT }: NodeJS.ProcessEnv): Address {
  const port = Number(PORT || 9000);
  if (Number.isNaN(port)) throw new Error(`PORT takes a port: it got ${JSON.stringify(PORT)}`);
  // The certificate is the service's own, and names the host that clients know, not this one.
  return { host: HOST || "localhost", port, rejectUnauthorized: false };
}

function getHealthz(address: Address, get: typeof getHttps): Promise<void> {
  const options = { ...address, path: "/healthz", agent: false, signal: AbortSignal.timeout(timeout) };
  return new Promise((resolve, reject) => {
    get(options, (response) => {
      response.resume();
      if (response.statusCode === 200) resolve();
      else reject(new Error(`HTTP ${response.statusCode}`));
    }).on("error", reject);
  });
}

/**
 * A service that gets as far as asking for a client certificate, of which there is none here, is alive: a client of TLS 1.3
 * has completed its handshake before the server refuses it (RFC 8446, section 4.4.2).
 */
function shakeHands(address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...address, minVersion: "TLSv1.3", timeout }, () => {
      socket.destroy();
      resolve();
    });
    socket.on("timeout", () => socket.destroy(new Error(`no handshake within ${timeout} ms`)));
    socket.on("error", reject);
  });
}

/** Of a host name with several addresses, the error for each; of an aborted request, the reason. */
function describe(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(describe).join(", ");
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
