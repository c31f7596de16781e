import { setTimeout as pause } from "node:timers/promises";
import { create, type DescMessage, type Message, type Registry } from "@bufbuild/protobuf";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import type { Endpoint } from "../../../src/endpoints/endpoint.ts";
import type { Call } from "../../../src/status/call.ts";
import { StatusError } from "../../../src/status/errors.ts";

/** The fields of the suite's messages. Its protos are read at run time, so there are no generated types. */
interface Header {
  readonly name: string;
  readonly value: readonly string[];
}

interface Failure {
  readonly code: Code;
  readonly message?: string;
  readonly details: readonly Any[];
}

interface Definition {
  readonly responseHeaders: readonly Header[];
  readonly responseTrailers: readonly Header[];
  readonly responseDelayMs: number;
}

interface UnaryDefinition extends Definition {
  readonly response:
    | { readonly case: "responseData"; readonly value: Uint8Array }
    | { readonly case: "error"; readonly value: Failure }
    | { readonly case: undefined; readonly value?: undefined };
}

interface StreamDefinition extends Definition {
  readonly responseData: readonly Uint8Array[];
  readonly error?: Failure;
}

type UnaryRequest = Message & { readonly responseDefinition?: UnaryDefinition };
type StreamRequest = Message & {
  readonly responseDefinition?: StreamDefinition;
  readonly fullDuplex?: boolean;
};

const serviceName = "connectrpc.conformance.v1.ConformanceService";
const requestInfoName = "connectrpc.conformance.v1.ConformancePayload.RequestInfo";

/**
 * The endpoints of the suite's ConformanceService, whose proto defines the answers of each method. `Unimplemented` must have
 * none.
 *
 * @param registry the descriptors of the suite's protos.
 */
export function conformanceEndpoints(registry: Registry): Endpoint[] {
  const service = registry.getService(serviceName);
  const requestInfo = registry.getMessage(requestInfoName);
  if (service === undefined || requestInfo === undefined) throw new Error(`the protos lack ${serviceName}`);

  /** The suite's description of a call: headers, timeout, the query of a GET, and the requests. */
  function infoOf(context: HandlerContext, requests: readonly Message[]) {
    const timeout = context.timeoutMs();
    return {
      requestHeaders: toHeaders(context.requestHeader),
      ...(timeout !== undefined && { timeoutMs: BigInt(Math.max(0, Math.round(timeout))) }),
      requests: pack(requests),
      ...(context.requestMethod === "GET" && {
        connectGetInfo: { queryParams: toHeaders(new URL(context.url).searchParams) },
      }),
    };
  }

  function pack(requests: readonly Message[]): Any[] {
    return requests.map((request) => anyPack(registry.getMessage(request.$typeName) as DescMessage, request));
  }

  /** @param info goes along with an error that comes instead of a first answer. */
  function toError({ code, message, details }: Failure, info?: ReturnType<typeof infoOf>): ConnectError {
    const error = new ConnectError(message ?? "", code);
    for (const { typeUrl, value } of details) {
      error.details.push({ type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1), value });
    }
    if (info !== undefined) {
      const desc = requestInfo as DescMessage;
      error.details.push({ desc, value: create(desc, info) });
    }
    return error;
  }

  async function answer(requests: readonly UnaryRequest[], context: HandlerContext) {
    const definition = requests[0]?.responseDefinition;
    const info = infoOf(context, requests);
    setMetadata(context, definition);
    await delay(definition, context);
    if (definition?.response.case === "error") throw toError(definition.response.value, info);
    return { payload: { data: definition?.response.value ?? new Uint8Array(), requestInfo: info } };
  }

  async function* answers(
    requests: AsyncIterable<StreamRequest> | Iterable<StreamRequest>,
    context: HandlerContext,
  ) {
    const received: Message[] = [];
    let definition: StreamDefinition | undefined;
    let sent = 0;
    const next = async (info?: Partial<ReturnType<typeof infoOf>>) => {
      await delay(definition, context);
      return { payload: { data: definition?.responseData[sent++], ...(info && { requestInfo: info }) } };
    };
    let interleaved = false;
    for await (const request of requests) {
      if (received.push(request) === 1) {
        definition = request.responseDefinition;
        interleaved = request.fullDuplex ?? false;
        setMetadata(context, definition);
      }
      if (!interleaved) continue;
      if (sent >= (definition?.responseData.length ?? 0)) break;
      yield await next(sent === 0 ? infoOf(context, [request]) : { requests: pack([request]) });
    }
    while (sent < (definition?.responseData.length ?? 0)) {
      yield await next(sent === 0 ? infoOf(context, received) : undefined);
    }
    if (definition?.error !== undefined) {
      throw toError(definition.error, sent === 0 ? infoOf(context, received) : undefined);
    }
  }

  const handlers: Readonly<Record<string, unknown>> = {
    unary: (request: UnaryRequest, _call: Call, context: HandlerContext) => answer([request], context),
    idempotentUnary: (request: UnaryRequest, _call: Call, context: HandlerContext) =>
      answer([request], context),
    clientStream: async (requests: AsyncIterable<UnaryRequest>, _call: Call, context: HandlerContext) =>
      answer(await Array.fromAsync(requests), context),
    serverStream: (request: StreamRequest, _call: Call, context: HandlerContext) =>
      answers([request], context),
    bidiStream: (requests: AsyncIterable<StreamRequest>, _call: Call, context: HandlerContext) =>
      answers(requests, context),
  };
  return service.methods
    .filter((method) => method.localName in handlers)
    .map((method) => ({ method, handle: handlers[method.localName] }) as Endpoint);
}

function toHeaders(fields: Iterable<[string, string]>): Header[] {
  return Array.from(fields, ([name, value]) => ({ name, value: [value] }));
}

function setMetadata(context: HandlerContext, definition: Definition | undefined): void {
  const { responseHeaders = [], responseTrailers = [] } = definition ?? {};
  for (const { name, value } of responseHeaders) {
    for (const one of value) context.responseHeader.append(name, one);
  }
  for (const { name, value } of responseTrailers) {
    for (const one of value) context.responseTrailer.append(name, one);
  }
}

/**
 * @throws the signal's reason when the caller goes meanwhile. When the deadline passes, an error without details: the suite's own
 *   service has none, and compares them whenever the answer is sooner than the client's own deadline.
 */
async function delay(definition: Definition | undefined, { signal }: HandlerContext): Promise<void> {
  await pause(definition?.responseDelayMs ?? 0, undefined, { signal }).catch(() => {});
  if (signal.aborted && signal.reason instanceof StatusError) {
    throw new ConnectError(signal.reason.message, Code.DeadlineExceeded);
  }
  signal.throwIfAborted();
}
