import { toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { type Config, withoutSecrets } from "./config.ts";
import { GetStatusResponseSchema, StatusService } from "./gen/gomemory/status/v1/status_pb.ts";
import { codeName } from "./protocols/observer.ts";

/** Beside 0 and 1. Their meanings stand in `get --help`, and scripts depend on them. */
const exitCodeOf: Partial<Record<Code, number>> = {
  [Code.InvalidArgument]: 2,
  [Code.NotFound]: 3,
  [Code.Unavailable]: 4,
  [Code.DeadlineExceeded]: 4,
  [Code.ResourceExhausted]: 4,
  [Code.Unauthenticated]: 5,
};

/** Asks a running server, prints what it says on standard output, or its error on standard error. @returns the exit code. */
export async function getStatus(config: Config, reqId: string): Promise<number> {
  const transport = createConnectTransport({ baseUrl: config.STATUS_URL, httpVersion: "1.1" });
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
    const { code, rawMessage } = ConnectError.from(reason);
    process.stderr.write(`${codeName(code)}: ${rawMessage} (asked ${withoutSecrets(config.STATUS_URL)})\n`);
    return exitCodeOf[code] ?? 1;
  }
}
