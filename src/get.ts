import { toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { Config } from "./config.ts";
import { GetStatusResponseSchema, StatusService } from "./gen/gomemory/status/v1/status_pb.ts";
import { codeName } from "./protocols/observer.ts";

/** For scripts. Kept as they are: somebody's script depends on them. */
export const exitCodes = `Exit codes:
  0  the status was printed, whatever it is
  1  something unforeseen
  2  the id or the usage is wrong
  3  there is no status under this id: it is unknown or has expired
  4  the server or its database did not answer: try again`;

const exitCodeOf: Partial<Record<Code, number>> = {
  [Code.InvalidArgument]: 2,
  [Code.NotFound]: 3,
  [Code.Unavailable]: 4,
  [Code.DeadlineExceeded]: 4,
  [Code.ResourceExhausted]: 4,
};

/** Asks a running server, prints what it says on standard output, or its error on standard error. @returns the exit code. */
export async function getStatus(config: Config, reqId: string): Promise<number> {
  const transport = createConnectTransport({ baseUrl: config.STATUS_URL, httpVersion: "1.1" });
  const client = createClient(StatusService, transport);
  try {
    const status = await client.getStatus({ reqId }, { timeoutMs: config.REQUEST_TIMEOUT });
    process.stdout.write(`${toJsonString(GetStatusResponseSchema, status)}\n`);
    return 0;
  } catch (reason) {
    const { code, rawMessage } = ConnectError.from(reason);
    process.stderr.write(`${codeName(code)}: ${rawMessage} (asked ${config.STATUS_URL})\n`);
    return exitCodeOf[code] ?? 1;
  }
}
