import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import {
  type Endpoint,
  fullName,
  isUnary,
  pathOfRpc,
  type ServerStreamingEndpoint,
  type UnaryEndpoint,
} from "../../endpoints/endpoint.ts";
import type { Life } from "../../endpoints/life.ts";
import { type Observe, observeNothing } from "../../status/observation.ts";
import { type Authenticate, admitEveryCall, identify } from "../begin-call.ts";
import { isHost } from "../target.ts";
import type { FastCall } from "./fast-call.ts";
import type { Codec } from "./framing.ts";
import type { FallBack, FastMethod, ServedEndpoint } from "./method.ts";
import { statusCodecs } from "./status-codec.ts";
import { StreamCall } from "./stream-call.ts";
import { UnaryCall } from "./unary-call.ts";

/**
 * The fast path for gRPC: calls with one uncompressed binary message, straight on node:http2's streams.
 *
 * Whatever is not exactly that falls back to Connect's adapter, untouched. So the fast path has no protocol errors of its
 * own: it knows a method's answers and a method's error, and nothing else.
 */
export interface FastPath {
  /** Answers a stream, or falls back: at once, or when its body turns out to be unusual. */
  serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, fallBack: FallBack): void;
}

interface FastPathOptions {
  /** By the method's descriptor. */
  readonly codecs?: ReadonlyMap<DescMethod, Codec>;
  readonly observe?: Observe;
  readonly authenticate?: Authenticate;
}

/** A timeout as gRPC's specification writes it. */
const grpcTimeout = /^\d{1,8}[HMSmun]$/;

/** @param endpoints of which those are served that take one message: unary and server-streaming ones. */
export function createFastPath(
  endpoints: readonly Endpoint[],
  life: Life,
  { codecs = statusCodecs, observe = observeNothing, authenticate = admitEveryCall }: FastPathOptions = {},
): FastPath {
  function serve<Served extends ServedEndpoint>(endpoint: Served, isSafe: boolean): FastMethod<Served> {
    const observer = observe("grpc", fullName(endpoint));
    return { endpoint, life, codec: codecs.get(endpoint.method), isSafe, observer };
  }
  const unary = new Map<string, FastMethod<UnaryEndpoint>>();
  const streaming = new Map<string, FastMethod<ServerStreamingEndpoint>>();
  for (const endpoint of endpoints) {
    if (isUnary(endpoint)) {
      const { idempotency } = endpoint.method;
      const isSafe = idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
      unary.set(pathOfRpc(endpoint), serve(endpoint, isSafe));
    } else if (isServerStreaming(endpoint)) streaming.set(pathOfRpc(endpoint), serve(endpoint, false));
  }

  function callOf(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    fallBack: FallBack,
  ): FastCall | undefined {
    const path = headers[":path"] ?? "";
    const method = unary.get(path);
    if (method !== undefined) return new UnaryCall(stream, headers, flags, method, fallBack);
    const streamed = streaming.get(path);
    return streamed && new StreamCall(stream, headers, flags, streamed, fallBack);
  }

  return {
    serve(stream, headers, flags, fallBack) {
      const isUsual = !stream.endAfterHeaders && isPlain(headers);
      const call = isUsual ? callOf(stream, headers, flags, fallBack) : undefined;
      if (call === undefined) return fallBack(stream, headers, flags);
      identify(call, headers, stream.session);
      // Connect's adapter refuses calls.
      if (!authenticate(call, headers[":path"] as string, headers)) return fallBack(stream, headers, flags);
      call.begin();
    },
  };
}

function isServerStreaming(endpoint: Endpoint): endpoint is ServerStreamingEndpoint {
  return endpoint.method.methodKind === "server_streaming";
}

function isPlain(headers: IncomingHttpHeaders): boolean {
  const timeout = headers["grpc-timeout"];
  const encoding = headers["grpc-encoding"];
  const type = headers["content-type"];
  return (
    headers[":method"] === "POST" &&
    (type === "application/grpc" || type === "application/grpc+proto") &&
    (timeout === undefined || grpcTimeout.test(timeout as string)) &&
    (encoding === undefined || encoding === "identity") &&
    isHost(headers[":authority"] ?? headers.host ?? "")
  );
}
