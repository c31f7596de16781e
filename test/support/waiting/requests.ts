import { randomUUID } from "node:crypto";
import { type DescMessage, fromJson, type JsonObject, toBinary } from "@bufbuild/protobuf";
import {
  BatchGetStatusRequestSchema,
  GetStatusRequestSchema,
  WatchStatusRequestSchema,
} from "../../../src/gen/gomemory/status/v1/status_pb.ts";
import {
  framed,
  getStatusPath,
  overEvery,
  type ProtocolName,
  post,
  type RawCall,
  withHeaders,
} from "../calls.ts";
import { getStatusMethod, type Row } from "../requests.ts";
import { bearing } from "../tokens.ts";

const watchMethod = "gomemory.status.v1.StatusService/WatchStatus";
const batchMethod = "gomemory.status.v1.StatusService/BatchGetStatus";
const batchPath = "/get_status:batch";
const soon = { "grpc-timeout": "50m", "connect-timeout-ms": "50" };
const large = Buffer.alloc(70_000, 0x20);

/** What a call asks for, over which protocol. */
type Request = readonly [ProtocolName, RawCall["asked"]];

/** A unary RPC over every protocol. */
function unary(path: string, schema: DescMessage, message: JsonObject): Request[] {
  const json = Buffer.from(JSON.stringify(message));
  const binary = framed(toBinary(schema, fromJson(schema, message)));
  return [
    ["connect", post(path, "application/json", json)],
    ["grpc-web", post(path, "application/grpc-web+proto", binary)],
    ["grpc", post(path, "application/grpc", binary)],
  ];
}

/** A watch over every protocol. */
function watch(reqIds: readonly string[], headers = {}): Request[] {
  const message = { reqIds: [...reqIds] };
  const binary = framed(toBinary(WatchStatusRequestSchema, fromJson(WatchStatusRequestSchema, message)));
  const json = framed(Buffer.from(JSON.stringify(message)));
  return [
    ["connect", post(`/${watchMethod}`, "application/connect+json", json, headers)],
    ["grpc-web", post(`/${watchMethod}`, "application/grpc-web+proto", binary, headers)],
    ["grpc", post(`/${watchMethod}`, "application/grpc", binary, headers)],
  ];
}

const get = (path: string, headers = {}): RawCall["asked"] => ({ method: "GET", path, headers });

const postJson = (message: object): RawCall["asked"] =>
  post(batchPath, "application/json", Buffer.from(JSON.stringify(message)));

/** Calls that wait, watch and ask in batches, each with what the log and the metrics say of it. @param found a pending job. */
export function waitingRows(found: string): Row[] {
  const unknown = randomUUID();
  const rows: Row[] = [];
  const add = (
    name: string,
    method: string,
    code: string,
    asked: readonly Request[],
    more: { readonly reqId?: string; readonly isHeld?: true } = {},
  ) => {
    const calls = asked.flatMap(([protocol, each]) => overEvery(`${name}, ${protocol}`, protocol, each));
    rows.push(
      ...calls.map((call) => ({
        call: withHeaders(call, bearing),
        method,
        code,
        ...more,
      })),
    );
  };
  const wait = (reqId: string, text: string) =>
    unary(getStatusPath, GetStatusRequestSchema, { reqId, wait: text });
  const batch = (...reqIds: string[]) => unary(`/${batchMethod}`, BatchGetStatusRequestSchema, { reqIds });
  const restWait = (reqId: string, query: string) =>
    ["rest", get(`/get_status/${reqId}?wait=${query}`)] as const;

  const held = { isHeld: true } as const;
  add("a wait", getStatusMethod, "OK", [...wait(found, "0.020s"), restWait(found, "20ms")], {
    reqId: found,
    ...held,
  });
  add(
    "a wait for an unknown id",
    getStatusMethod,
    "NOT_FOUND",
    [...wait(unknown, "9s"), restWait(unknown, "9s")],
    { reqId: unknown, ...held },
  );
  add(
    "a wait of none",
    getStatusMethod,
    "OK",
    [...wait(found, "0s"), ["rest", get(`/get_status/${found}`, { Prefer: "wait=0" })]],
    { reqId: found },
  );
  add("a wait that is none", getStatusMethod, "INVALID_ARGUMENT", wait(found, "-1s"), { reqId: found });
  // The query is read before the id.
  add("a wait that is none", getStatusMethod, "INVALID_ARGUMENT", [restWait(found, "soon")]);
  add("HEAD", getStatusMethod, "OK", [["rest", { ...get(`/get_status/${found}?wait=9s`), method: "HEAD" }]], {
    reqId: found,
  });
  const events = get(`/get_status/${unknown}`, { Accept: "text/event-stream" });
  add("events of an unknown id", watchMethod, "NOT_FOUND", [["rest", events]], { reqId: unknown, ...held });

  add("a watch until the deadline", watchMethod, "DEADLINE_EXCEEDED", watch([found], soon), {
    reqId: found,
    ...held,
  });
  add("a watch of an unknown id", watchMethod, "OK", watch([unknown]), { reqId: unknown, ...held });
  add("a watch of no id", watchMethod, "INVALID_ARGUMENT", watch([]), held);
  add("a watch of a malformed id", watchMethod, "INVALID_ARGUMENT", watch([found, "nope"]), {
    reqId: found,
    ...held,
  });

  const rest = (message: object) => ["rest", postJson(message)] as const;
  add("a batch", batchMethod, "OK", [...batch(found, unknown), rest({ reqIds: [found] })], { reqId: found });
  add("a batch of no id", batchMethod, "INVALID_ARGUMENT", [...batch(), rest({})]);
  add("a batch that is no JSON", batchMethod, "INVALID_ARGUMENT", [
    ["rest", post(batchPath, "application/json", Buffer.from("{"))],
  ]);
  add("a batch of another media type", batchMethod, "INVALID_ARGUMENT", [
    ["rest", post(batchPath, "text/plain", Buffer.from("{}"))],
  ]);
  add("a batch that is too large", batchMethod, "RESOURCE_EXHAUSTED", [
    ["rest", post(batchPath, "application/json", large)],
  ]);
  add("another method of HTTP", batchMethod, "UNIMPLEMENTED", [["rest", get(batchPath)]]);
  return rows;
}

/** The same of callers without a token, who are refused. */
export function refusedWaitingRows(found: string): Row[] {
  const refused = /^(a wait|a watch of an unknown id|a batch|events of an unknown id), /;
  return waitingRows(found)
    .filter(({ call }) => refused.test(call.name))
    .map(({ call, method }) => {
      const isEvents = call.name.startsWith("events");
      const { Authorization: _, ...headers } = { Authorization: "", ...call.asked.headers };
      return {
        call: { ...call, name: `refused: ${call.name}`, asked: { ...call.asked, headers } },
        method: isEvents ? getStatusMethod : method,
        code: "UNAUTHENTICATED",
      };
    });
}
