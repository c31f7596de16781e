import type { Connections, Request } from "../connections.ts";
import { connectHttp1 } from "../http1.ts";
import { connectHttp2, type Http2Options } from "../http2.ts";
import { eventsReader, eventsRequest } from "./events.ts";
import { longestWait, longPollReader, longPollRequest } from "./long-poll.ts";
import type { Reader } from "./reader.ts";
import { watchReader, watchRequest } from "./watch.ts";

/** A way to wait for a status, as a client uses it. */
export interface Way {
  readonly name: string;
  /** The protocol of the polling that it replaces. */
  readonly protocol: "rest" | "grpc";
  readonly http: 1 | 2;
  /** Whether one call can ask for several ids. */
  readonly takesMany?: true;
  /** Whether a call is answered when its wait is over, and is then made again. */
  readonly isLongPoll?: true;
  connect(port: number, options: Http2Options): Connections;
  /** @param wait of a long poll, in seconds. Default: 30. */
  request(reqIds: readonly string[], wait?: number): Request;
  reader(reqIds: readonly string[]): Reader;
}

const overHttp1 = { http: 1, connect: (port: number) => connectHttp1(port) } as const;
const overHttp2 = { http: 2, connect: connectHttp2 } as const;

const events = {
  protocol: "rest",
  request: ([reqId = ""]: readonly string[]) => eventsRequest(reqId),
  reader: ([reqId = ""]: readonly string[]) => eventsReader(reqId),
} as const;

const longPolls = {
  protocol: "rest",
  isLongPoll: true,
  request: ([reqId = ""]: readonly string[], wait = longestWait) => longPollRequest(reqId, wait),
  reader: ([reqId = ""]: readonly string[]) => longPollReader(reqId),
} as const;

const eventsHttp1: Way = { name: "events, HTTP/1.1", ...events, ...overHttp1 };
const eventsHttp2: Way = { name: "events, HTTP/2", ...events, ...overHttp2 };

/** Event streams by the version of HTTP. */
export const eventsOver = { 1: eventsHttp1, 2: eventsHttp2 } as const;

export const grpcWatch: Way = {
  name: "gRPC watch",
  protocol: "grpc",
  takesMany: true,
  request: watchRequest,
  reader: watchReader,
  ...overHttp2,
};

export const ways: readonly Way[] = [
  grpcWatch,
  eventsHttp2,
  { name: "long poll, HTTP/2", ...longPolls, ...overHttp2 },
  eventsHttp1,
  { name: "long poll, HTTP/1.1", ...longPolls, ...overHttp1 },
];
