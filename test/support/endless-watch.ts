import { once } from "node:events";
import { type IncomingMessage, request as requestHttp1 } from "node:http";
import { connect as connectHttp2, constants } from "node:http2";
import { text } from "node:stream/consumers";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect } from "vitest";
import type { ServerStreamingEndpoint } from "../../src/endpoints/endpoint.ts";
import {
  StatusService,
  WatchStatusRequestSchema,
  type WatchStatusResponseSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import type { Call } from "../../src/status/call.ts";
import { framed, overEvery, post, type RawCall } from "./calls.ts";

const path = `/${StatusService.typeName}/WatchStatus`;
const body = framed(toBinary(WatchStatusRequestSchema, create(WatchStatusRequestSchema, { reqIds: ["x"] })));

/** Watches over every protocol. */
export const watches: readonly RawCall[] = [
  ...overEvery("gRPC, fast path", "grpc", post(path, "application/grpc", body)),
  ...overEvery("gRPC, Connect's adapter", "grpc", post(path, "application/grpc", body)),
  ...overEvery("gRPC-Web", "grpc-web", post(path, "application/grpc-web+proto", body)),
  ...overEvery("Connect", "connect", post(path, "application/connect+proto", body)),
];

export const takesFastPath = ({ name }: RawCall): boolean => name.includes("fast path");

/** A watch that never ends by itself. */
export interface EndlessWatch {
  readonly endpoint: ServerStreamingEndpoint<
    typeof WatchStatusRequestSchema,
    typeof WatchStatusResponseSchema
  >;
  /** Its calls. */
  readonly calls: readonly Call[];
  /** Why its calls have ended. */
  readonly reasons: readonly unknown[];
  /** How many of its generators have something to put away: two for each call. */
  readonly open: number;
  /** Waits until it is asked for no more messages. */
  stalls(): Promise<void>;
}

/** @param length of each message. @param pause what to wait for after each message. */
export function createEndlessWatch(
  length: number,
  pause: (call: Call) => Promise<unknown> = () => Promise.resolve(),
): EndlessWatch {
  const calls: Call[] = [];
  const reasons: unknown[] = [];
  let messages = 0;
  let open = 0;

  async function* texts(call: Call): AsyncGenerator<string> {
    open++;
    try {
      while (!call.cancelled) {
        messages++;
        yield "x".repeat(length);
        await pause(call);
      }
    } finally {
      open--;
    }
  }

  return {
    calls,
    reasons,
    get open() {
      return open;
    },
    endpoint: {
      method: StatusService.method.watchStatus,
      heldAs: "watch",
      async *handle(_request, call) {
        calls.push(call);
        open++;
        try {
          for await (const reqId of texts(call)) yield { event: { case: "gone", value: { reqId } } };
        } finally {
          open--;
          reasons.push(call.reason);
        }
      },
    },
    async stalls() {
      let before = 0;
      const isStalled = () => {
        const same = messages > 0 && messages === before;
        before = messages;
        return same;
      };
      await expect.poll(isStalled, { interval: 100, timeout: 10_000 }).toBe(true);
    },
  };
}

/** A client that has read the headers of its answer, and nothing after them. */
export interface StalledClient {
  /** Settles when its stream is closed, or its connection over HTTP/1.1. */
  readonly closed: Promise<unknown>;
  /** Resets the stream, or the connection over HTTP/1.1. */
  reset(): void;
  /** Reads to the end. @returns all that came after the headers. */
  readOn(): Promise<string>;
}

export async function openStalled({ version, asked }: RawCall, url: string): Promise<StalledClient> {
  const { method, path, headers = {} } = asked;
  const { hostname, port } = new URL(url);
  if (version === "1.1") {
    const request = requestHttp1({ hostname, port, method, path, headers, agent: false });
    request.on("error", () => {}).end(asked.body);
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.on("error", () => {});
    const closed = new Promise((resolve) => request.once("close", resolve));
    return { closed, reset: () => request.destroy(), readOn: () => text(response) };
  }
  const session = connectHttp2(url).on("error", () => {});
  const stream = session.request({ ":method": method, ":path": path, ...headers }).on("error", () => {});
  const closed = new Promise((resolve) => stream.once("close", resolve));
  stream.once("close", () => session.close());
  stream.end(asked.body);
  let trailers: unknown;
  stream.once("trailers", (received) => {
    trailers = received;
  });
  await once(stream, "response");
  return {
    closed,
    reset: () => stream.close(constants.NGHTTP2_CANCEL),
    readOn: async () => (await text(stream)) + JSON.stringify(trailers ?? ""),
  };
}
