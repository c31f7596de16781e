import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { type Endpoint, fullName, isUnary, pathOfRpc } from "../../endpoints/endpoint.ts";
import type { Life } from "../../endpoints/life.ts";
import { type Observe, observeNothing } from "../../status/observation.ts";
import { type Authenticate, admitEveryCall, identify } from "../begin-call.ts";
import { isHost } from "../target.ts";
import type { UnaryCodec } from "./framing.ts";
import { statusCodecs } from "./status-codec.ts";
import { UnaryCall } from "./unary-call.ts";
import type { FallBack, UnaryMethod } from "./unary-method.ts";

/**
 * The fast path for gRPC: unary calls with one uncompressed binary message, straight on node:http2's streams.
 *
 * Whatever is not exactly that falls back to Connect's adapter, untouched. So the fast path has no protocol errors of its
 * own: it knows a method's answer and a method's error, and nothing else.
 */
export interface FastPath {
  /** Answers a stream, or falls back: at once, or when its body turns out to be unusual. */
  serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, fallBack: FallBack): void;
}

interface FastPathOptions {
  /** By the method's descriptor. */
  readonly codecs?: ReadonlyMap<DescMethod, UnaryCodec>;
  readonly observe?: Observe;
  readonly authenticate?: Authenticate;
}

/** A timeout as gRPC's specification writes it. */
const grpcTimeout = /^\d{1,8}[HMSmun]$/;

/** @param endpoints of which the unary ones are served. */
export function createFastPath(
  endpoints: readonly Endpoint[],
  life: Life,
  { codecs = statusCodecs, observe = observeNothing, authenticate = admitEveryCall }: FastPathOptions = {},
): FastPath {
  const methods = new Map<string, UnaryMethod>();
  for (const endpoint of endpoints) {
    if (!isUnary(endpoint)) continue;
    const { method } = endpoint;
    methods.set(pathOfRpc(endpoint), {
      endpoint,
      life,
      codec: codecs.get(method),
      isSafe: method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS,
      observer: observe("grpc", fullName(endpoint)),
    });
  }

  return {
    serve(stream, headers, flags, fallBack) {
      const path = headers[":path"] ?? "";
      const method = methods.get(path);
      if (method === undefined || stream.endAfterHeaders || !isPlain(headers)) {
        return fallBack(stream, headers, flags);
      }
      const call = new UnaryCall(stream, headers, flags, method, fallBack);
      identify(call, headers, stream.session);
      // Connect's adapter refuses calls.
      if (!authenticate(call, path, headers)) return fallBack(stream, headers, flags);
      call.begin();
    },
  };
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
