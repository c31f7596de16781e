import { once } from "node:events";
import { type IncomingMessage, request as requestHttp1 } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { text } from "node:stream/consumers";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, describe, expect, test } from "vitest";
import type { ServerStreamingEndpoint } from "../../src/endpoints/endpoint.ts";
import {
  StatusService,
  WatchStatusRequestSchema,
  type WatchStatusResponseSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { type Call, callerGone } from "../../src/status/call.ts";
import { goingAway, slowConsumer, unauthenticated } from "../../src/status/errors.ts";
import { framed, overEvery, post, type RawCall } from "../support/calls.ts";
import { serveEndpoints } from "../support/serve.ts";

const path = `/${StatusService.typeName}/WatchStatus`;
const body = framed(toBinary(WatchStatusRequestSchema, create(WatchStatusRequestSchema, { reqIds: ["x"] })));
const watches = [
  ...overEvery("gRPC, fast path", "grpc", post(path, "application/grpc", body)),
  ...overEvery("gRPC, Connect's adapter", "grpc", post(path, "application/grpc", body)),
  ...overEvery("gRPC-Web", "grpc-web", post(path, "application/grpc-web+proto", body)),
  ...overEvery("Connect", "connect", post(path, "application/connect+proto", body)),
];
const serve = ({ name }: RawCall) => serveEndpoints([watch], { withFastPath: name.includes("fast path") });

/** What the endpoint below does. */
const seen = { call: undefined as Call | undefined, messages: 0, open: 0, reason: undefined as unknown };

afterEach(() => {
  expect(seen.open).toBe(0);
});

/** Sends large messages without an end, by two generators, which both have something to put away. */
const watch: ServerStreamingEndpoint<typeof WatchStatusRequestSchema, typeof WatchStatusResponseSchema> = {
  method: StatusService.method.watchStatus,
  heldAs: "watch",
  async *handle(_request, call) {
    Object.assign(seen, { call, messages: 0 });
    seen.open++;
    try {
      for await (const reqId of texts()) yield { event: { case: "gone", value: { reqId } } };
    } finally {
      seen.open--;
      seen.reason = call.reason;
    }
  },
};

async function* texts(): AsyncGenerator<string> {
  const each = "x".repeat(50_000);
  seen.open++;
  try {
    for (;;) {
      await Promise.resolve();
      seen.messages++;
      yield each;
    }
  } finally {
    seen.open--;
  }
}

/** A client that reads nothing. */
interface Stalled {
  /** Resets the stream, or the connection over HTTP/1.1. */
  reset(): void;
  /** Reads to the end. @returns all that was sent after the headers. */
  readOn(): Promise<string>;
}

async function openStalled({ version, asked }: RawCall, url: string): Promise<Stalled> {
  const { method, path, headers = {} } = asked;
  const { hostname, port } = new URL(url);
  if (version === "1.1") {
    const request = requestHttp1({ hostname, port, method, path, headers, agent: false });
    request.on("error", () => {}).end(asked.body);
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.on("error", () => {});
    return { reset: () => request.destroy(), readOn: () => text(response) };
  }
  const session = connectHttp2(url);
  session.on("error", () => {});
  const stream = session.request({ ":method": method, ":path": path, ...headers }).on("error", () => {});
  stream.once("close", () => session.close());
  stream.end(asked.body);
  let trailers: unknown;
  stream.once("trailers", (received) => {
    trailers = received;
  });
  await once(stream, "response");
  return {
    reset: () => stream.close(8),
    readOn: async () => (await text(stream)) + JSON.stringify(trailers ?? ""),
  };
}

/** Waits until the endpoint is not asked for more. */
async function stalls(): Promise<void> {
  let before = 0;
  await expect
    .poll(
      () => {
        const isStalled = seen.messages > 0 && seen.messages === before;
        before = seen.messages;
        return isStalled;
      },
      { interval: 100, timeout: 10_000 },
    )
    .toBe(true);
}

describe.for(watches)("a stream that its client does not read: $name", (call) => {
  test("every finally of its endpoint runs when the client resets it", async () => {
    await using service = await serve(call);
    const client = await openStalled(call, service.url);
    await stalls();
    client.reset();
    await expect.poll(() => seen.open, { interval: 5 }).toBe(0);
    expect(seen.reason).toBe(callerGone);
  });

  test.for([
    slowConsumer,
    goingAway,
    unauthenticated,
  ])("every finally runs when the call is cancelled, and the client learns why when it reads on: $reason", async (error) => {
    await using service = await serve(call);
    const client = await openStalled(call, service.url);
    await stalls();
    seen.call?.cancel(error);
    await expect.poll(() => seen.open, { interval: 5 }).toBe(0);
    expect(seen.reason).toBe(error);
    const read = (await client.readOn()).slice(-3_000);
    expect(read.replaceAll("%20", " ")).toContain(error.message.slice(0, 20));
  });
});
