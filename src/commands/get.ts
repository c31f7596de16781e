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

/** Beside 0 and 1. Their meanings stand in `get --help`, and scripts depend on them. */
const exitCodeOf: Partial<Record<Code, number>> = {
  [Code.InvalidArgument]: 2,
  [Code.NotFound]: 3,
  [Code.Unavailable]: 4,
  [Code.DeadlineExceeded]: 4,
  [Code.ResourceExhausted]: 4,
  [Code.Unauthenticated]: 5,
};

/** The network's errors that say: no answer, or not the whole of it. Not those of TLS, which are there tomorrow, too. */
const unanswered = new Set([
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

/** Asks a running server, prints what it says on standard output, or its error on standard error. @returns the exit code. */
export async function getStatus(config: Config, reqId: string): Promise<number> {
  const files = clientTlsFiles(config);
  const certificate = files && readCertificates(files, pathsOf(files).map(readNow));
  const transport = createConnectTransport({
    baseUrl: config.STATUS_URL,
    httpVersion: "1.1",
    // A body would be in the way of an answer that comes before it: the write fails, and the answer is lost.
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
    return 0;
  } catch (reason) {
    const error = ConnectError.from(reason);
    const code = codeOf(error);
    const asked = redactUrl(config.STATUS_URL);
    process.stderr.write(`${codeName(code)}: ${error.rawMessage.trim()} (asked ${asked})\n`);
    return exitCodeOf[code] ?? 1;
  }
}

/** What happened, by its kind: connect-node names what the network says by what a server would mean by it. */
function codeOf({ code, rawMessage, cause }: ConnectError): Code {
  const { code: systemCode = "" } = cause instanceof Error ? (cause as NodeJS.ErrnoException) : {};
  if (unanswered.has(systemCode)) return Code.Unavailable;
  if (/^ERR_SSL_.*ALERT_.*CERT/.test(systemCode)) return Code.Unauthenticated;
  // A proxy's: it waited too long for the request, or got it too early (RFC 9110, 15.5.9; RFC 8470, 5.2).
  if (rawMessage === "HTTP 408" || rawMessage === "HTTP 425") return Code.Unavailable;
  return code;
}
