import { toJsonString } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { codeName } from "../../../src/endpoints/codes.ts";
import {
  type GetStatusResponse,
  GetStatusResponseSchema,
  StatusService,
} from "../../../src/gen/gomemory/status/v1/status_pb.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "../../../src/gen/google/rpc/error_details_pb.ts";
import type { StreamCheck, ToldStatus } from "./stream-check.ts";
import { type End, toldByJson, type Way } from "./way.ts";

type StatusClient = Client<typeof StatusService>;

/** The clients that share a connection. */
const clientsOfConnection = 50;

export function watchOverGrpc(ids: number): Way {
  return overGrpc("WatchStatus, gRPC", ids, true, async (client, check, signal) => {
    for await (const { event } of client.watchStatus({ reqIds: [...check.open] }, { signal })) {
      if (event.case === "status") check.told(event.value.reqId, told(event.value.status));
      if (event.case === "gone") check.told(event.value.reqId, undefined);
    }
    return 0;
  });
}

/** @param wait in milliseconds. */
export function waitOverGrpc(wait: number): Way {
  return overGrpc("GetStatus with wait, gRPC", 1, false, async (client, check, signal) => {
    const [reqId = ""] = check.open;
    check.told(reqId, told(await client.getStatus({ reqId, wait: durationFromMs(wait) }, { signal })));
    return 0;
  });
}

/** Polls. @param pause between two calls, in milliseconds. */
export function batchOverGrpc(ids: number, pause: number): Way {
  return overGrpc("BatchGetStatus, gRPC", ids, false, async (client, check, signal) => {
    const { items } = await client.batchGetStatus({ reqIds: [...check.open] }, { signal });
    for (const { reqId, outcome } of items) {
      if (outcome.case === "status") check.told(reqId, told(outcome.value));
      else if (outcome.value?.reason === "STATUS_NOT_FOUND") check.told(reqId, undefined);
    }
    return pause;
  });
}

/** @param call @returns how long to wait before the next call, if there is one. */
function overGrpc(
  name: string,
  ids: number,
  isStream: boolean,
  call: (client: StatusClient, check: StreamCheck, signal: AbortSignal) => Promise<number>,
): Way {
  const connections = new Map<string, { sessions: Http2SessionManager; client: StatusClient }>();

  function connectionTo(baseUrl: string, number: number): StatusClient {
    const key = `${baseUrl} ${Math.floor(number / clientsOfConnection)}`;
    let connection = connections.get(key);
    if (connection === undefined) {
      const sessions = new Http2SessionManager(baseUrl);
      const transport = createGrpcTransport({ baseUrl, sessionManager: sessions });
      connection = { sessions, client: createClient(StatusService, transport) };
      connections.set(key, connection);
    }
    return connection.client;
  }

  return {
    name,
    ids,
    isStream,
    async attempt(url, number, check, signal) {
      try {
        return { as: "OK", retryAfter: await call(connectionTo(url, number), check, signal) };
      } catch (reason) {
        return endOf(ConnectError.from(reason));
      }
    },
    [Symbol.dispose]() {
      for (const { sessions } of connections.values()) sessions.abort();
    },
  };
}

function endOf(error: ConnectError): End {
  const [info] = error.findDetails(ErrorInfoSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  if (info === undefined) {
    return { as: `${codeName(error.code)}: ${error.rawMessage}`, retryAfter: 500, isLost: true };
  }
  const delay = retry?.retryDelay;
  return { as: info.reason, retryAfter: delay === undefined ? 500 : durationMs(delay) };
}

function told(status: GetStatusResponse | undefined): ToldStatus | undefined {
  return status && toldByJson(toJsonString(GetStatusResponseSchema, status));
}
