import { toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { Config } from "../config/config.ts";
import { clientTlsFiles } from "../config/files.ts";
import { redactUrl } from "../config/redact.ts";
import { codeName } from "../endpoints/codes.ts";
import { GetStatusResponseSchema, StatusService } from "../gen/gomemory/status/v1/status_pb.ts";
import { pathsOf, readCertificates } from "../server/tls/certificates.ts";
import { readNow } from "../server/watched-files.ts";
import { type ExitCode, exitCodes } from "./exit-codes.ts";

const exitCodeOf: Partial<Record<Code, ExitCode>> = {
  [Code.InvalidArgument]: exitCodes.usage,
  [Code.NotFound]: exitCodes.notFound,
  [Code.Unavailable]: exitCodes.unavailable,
  [Code.DeadlineExceeded]: exitCodes.unavailable,
  [Code.ResourceExhausted]: exitCodes.unavailable,
  [Code.Unauthenticated]: exitCodes.denied,
};

/** Errors of the network after which another attempt may succeed. Not those of TLS, which last. */
const networkErrors = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
  "ENOTFOUND",
  "EAI_AGAIN",
]);

/** Asks a running server for a status. Prints it on standard output, or the error on standard error. */
export async function getStatus(config: Config, reqId: string): Promise<ExitCode> {
  const files = clientTlsFiles(config);
  const certificate = files && readCertificates(files, pathsOf(files).map(readNow));
  const transport = createConnectTransport({
    baseUrl: config.STATUS_URL,
    httpVersion: "1.1",
    // A request with a body loses an answer that comes before the body is written: the write fails.
    useHttpGet: true,
    ...(certificate && { nodeOptions: certificate }),
  });
  const client = createClient(StatusService, transport);
  const headers = config.STATUS_TOKEN && { Authorization: `Bearer ${config.STATUS_TOKEN}` };
  try {
    const status = await client.getStatus(
      { reqId },
      { timeoutMs: config.REQUEST_TIMEOUT, ...(headers && { headers }) },
    );
    process.stdout.write(`${toJsonString(GetStatusResponseSchema, status)}\n`);
    return exitCodes.success;
  } catch (reason) {
    const error = ConnectError.from(reason);
    const code = codeOf(error);
    const asked = redactUrl(config.STATUS_URL);
    process.stderr.write(`${codeName(code)}: ${error.rawMessage.trim()} (asked ${asked})\n`);
    return exitCodeOf[code] ?? exitCodes.failure;
  }
}

/** connect-node gives errors of the network and of proxies the codes of servers' errors: @returns the code that fits. */
function codeOf({ code, rawMessage, cause }: ConnectError): Code {
  const { code: systemCode = "" } = cause instanceof Error ? (cause as NodeJS.ErrnoException) : {};
  if (networkErrors.has(systemCode)) return Code.Unavailable;
  if (/^ERR_SSL_.*ALERT_.*CERT/.test(systemCode)) return Code.Unauthenticated;
  // From a proxy: it waited too long for the request, or got it too early (RFC 9110, 15.5.9; RFC 8470, 5.2).
  if (rawMessage === "HTTP 408" || rawMessage === "HTTP 425") return Code.Unavailable;
  return code;
}
