import { setImmediate as turn } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ServerStreamingEndpoint } from "../../src/endpoints/endpoint.ts";
import {
  StatusService,
  type WatchStatusRequestSchema,
  type WatchStatusResponseSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import {
  Health,
  type HealthCheckRequestSchema,
  type HealthCheckResponseSchema,
} from "../../src/gen/health/v1/health_pb.ts";
import type { Listener } from "../../src/server/listener.ts";
import { whenAborted } from "../../src/status/abort.ts";
import { goingAway, overloaded, StatusError } from "../../src/status/errors.ts";
import { encodeRequest, grpcCalls } from "../support/grpc-calls.ts";
import { exchange, frameMessage } from "../support/grpc-exchange.ts";
import { serveEndpoints } from "../support/serve.ts";

const ends = ["ok", "error", "details", "pushback", "goingAway", "metadata", "unforeseen", "wait"] as const;

/** What an endpoint is to do. A request has it as JSON in the place of an id. */
interface Script {
  readonly header: readonly (readonly [string, string])[];
  readonly trailer: readonly (readonly [string, string])[];
  /** Their lengths. A message of length 0 comes in a later turn of the event loop. */
  readonly messages: readonly number[];
  /** How the stream ends after them. `wait`: at its deadline. */
  readonly end: (typeof ends)[number];
}

function errorOf(end: Script["end"]): unknown {
  switch (end) {
    case "error":
      return new ConnectError("as asked", Code.Aborted);
    case "details":
      return new StatusError("DATASTORE_UNAVAILABLE", "try again 100% sure: ü/?#");
    case "pushback":
      return overloaded("MAX_WATCHED");
    case "goingAway":
      return goingAway;
    case "metadata":
      return new ConnectError("as asked", Code.DataLoss, { "x-why": "because", "x-why-bin": "AAEC" });
    default:
      return new Error("password=hunter2");
  }
}

function read(text: string): Script {
  try {
    return JSON.parse(text) as Script;
  } catch {
    throw new StatusError("INVALID_REQ_ID", "no script");
  }
}

const watch: ServerStreamingEndpoint<typeof WatchStatusRequestSchema, typeof WatchStatusResponseSchema> = {
  method: StatusService.method.watchStatus,
  heldAs: "watch",
  async *handle({ reqIds: [text = ""] }, call, context) {
    const { header, trailer, messages, end } = read(text);
    for (const [name, value] of header) context?.responseHeader.append(name, value);
    for (const [name, value] of trailer) context?.responseTrailer.append(name, value);
    for (const length of messages) {
      if (length === 0) await turn();
      yield { event: { case: "gone", value: { reqId: "x".repeat(length) } } };
    }
    if (end === "wait") await whenAborted(call.signal);
    else if (end !== "ok") throw errorOf(end);
  },
};

/** Another service, which tells what it knows of its call. */
const healthWatch: ServerStreamingEndpoint<
  typeof HealthCheckRequestSchema,
  typeof HealthCheckResponseSchema
> = {
  method: Health.method.watch,
  heldAs: "health",
  async *handle({ service }, _call, context) {
    if (context === undefined) throw new Error("there is no context");
    const { service: of, method, protocolName, requestMethod, url } = context;
    context.responseHeader.set("x-method", `${of.typeName}/${method.name} ${protocolName}`);
    context.responseHeader.set("x-echo", context.requestHeader.get("x-echo") ?? "none");
    context.responseTrailer.set("x-url", new URL(url).pathname + requestMethod);
    await turn();
    yield service === "" ? {} : { status: 1 };
  },
};

const sides = { "fast path": true, adapter: false };
type Side = keyof typeof sides;
const listeners = {} as Record<Side, Listener>;

beforeAll(async () => {
  for (const side of Object.keys(sides) as Side[]) {
    const options = { withFastPath: sides[side], shutdownTimeout: 0 };
    listeners[side] = await serveEndpoints([watch, healthWatch], options);
  }
});

afterAll(async () => {
  for (const side of Object.keys(sides) as Side[]) await listeners[side][Symbol.asyncDispose]();
});

const path = `/${StatusService.typeName}/WatchStatus`;
const scriptOf = (script: Partial<Script>) =>
  JSON.stringify({ header: [], trailer: [], messages: [], end: "ok", ...script } satisfies Script);

/** @returns what both sides have answered. */
async function bothAnswer(script: Partial<Script>, headers: Readonly<Record<string, string>> = {}) {
  const call = {
    headers: {
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    },
    chunks: [frameMessage(encodeRequest(scriptOf(script)))],
  };
  const [fast, adapted] = await Promise.all([
    exchange(listeners["fast path"].address.port, call),
    exchange(listeners.adapter.address.port, call),
  ]);
  expect(fast).toEqual(adapted);
  return fast as { headers: object; trailers: object; messages: string };
}

const metadata = fc.array(
  fc.tuple(fc.constantFrom("x-one", "x-two", "x-why"), fc.constantFrom("a", "b, c", "%20")),
  { maxLength: 3 },
);
const scripts = fc.record({
  header: metadata,
  trailer: metadata,
  messages: fc.array(fc.constantFrom(0, 0, 1, 36, 1_000, 2_000, 20_000, 100_000), { maxLength: 8 }),
  end: fc.constantFrom(...ends.filter((end) => end !== "wait")),
});

/** The number of calls that are compared. */
const cases = 500;
const seed = 4_000;

test(`the fast path and Connect's adapter answer ${cases} streaming calls alike, well-formed and malformed`, {
  timeout: 60_000,
}, async () => {
  const [first = "", ...others] = fc.sample(scripts, { numRuns: 200, seed }).map(scriptOf);
  const paths = [path, `/${Health.typeName}/Watch`] as const;
  let answered = 0;
  await fc.assert(
    fc.asyncProperty(grpcCalls([first, ...others], paths), async (call) => {
      const [fast, adapted] = await Promise.all([
        exchange(listeners["fast path"].address.port, call),
        exchange(listeners.adapter.address.port, call),
      ]);
      expect(fast).toEqual(adapted);
      if (fast !== "cancelled") answered++;
    }),
    { numRuns: cases, seed },
  );
  expect(answered).toBeGreaterThan(cases / 2);
});

const messages = [36, 0];
const some = { messages: expect.stringMatching(/./) };
const none = { messages: "" };

test.for([
  { name: "OK", script: { messages }, ...some, trailers: { "grpc-status": "0" } },
  { name: "OK without a message", script: {}, ...none, headers: { "grpc-status": "0" } },
  {
    name: "OK without a message, with headers",
    script: { header: [["x-one", "a"]] as const },
    ...none,
    headers: { "x-one": "a" },
    trailers: { "grpc-status": "0" },
  },
  {
    name: "an error before the first message",
    script: { end: "details" as const },
    ...none,
    headers: { "grpc-status": "14" },
  },
  {
    name: "the same, with headers",
    script: { header: [["x-one", "a"]] as const, end: "unforeseen" as const },
    ...none,
    headers: { "x-one": "a" },
    trailers: { "grpc-status": "13" },
  },
  {
    name: "an error after a message",
    script: { messages, end: "details" as const },
    ...some,
    trailers: { "grpc-status": "14" },
  },
  {
    name: "a limit that sheds, after a message",
    script: { messages, end: "pushback" as const },
    ...some,
    trailers: { "grpc-status": "8", "grpc-retry-pushback-ms": "a delay" },
  },
])("both end a stream alike: $name", async ({ script, name: _, ...expected }) => {
  for (const named of [{ "x-request-id": "mine" }, {}])
    expect(await bothAnswer(script, named)).toMatchObject(expected);
});

test.for([
  { name: "before the first message", messages: [], block: "headers" as const },
  { name: "after a message", messages: [36], block: "trailers" as const },
])("both end a stream at its deadline alike: $name", async ({ messages, block }) => {
  const answer = await bothAnswer({ messages, end: "wait" }, { "grpc-timeout": "20m" });
  expect(answer[block]).toMatchObject({
    "grpc-status": String(Code.DeadlineExceeded),
    "grpc-status-details-bin": [{ type: ErrorInfoSchema.typeName }],
  });
});
