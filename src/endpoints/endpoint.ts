import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  Message,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import type { Call, HeldKind } from "../status/call.ts";

/** What every endpoint has, whatever its kind. */
interface Common<Method> {
  readonly method: Method;
  /** Also for callers without a token, where tokens are required. */
  readonly isOpen?: true;
}

/** A unary RPC as it is served. */
export interface UnaryEndpoint<I extends DescMessage = DescMessage, O extends DescMessage = DescMessage>
  extends Common<DescMethodUnary<I, O>> {
  /** @returns how much the request may read: its weight in admission. Absent: nothing, and it is always admitted. */
  cost?(request: MessageShape<I>): number;
  /** Its calls together take at most half of each limit of admission. */
  readonly isBatch?: true;
  /** @returns whether the call is to be held (MAX_WAITING): it costs nothing in admission then. Absent: it never is. */
  isHeld?(request: MessageShape<I>): boolean;
  /** What answers over REST when events are asked for (`text/event-stream`). Absent: nothing does. */
  readonly events?: Events<I>;
  /**
   * @param context Connect's, for what lies beside the messages: over REST there is none.
   * @throws StatusError; ConnectError; the reason with which the call was cancelled. Any other error is INTERNAL.
   */
  handle(
    request: MessageShape<I>,
    call: Call,
    context?: HandlerContext,
  ): Promise<MessageInitShape<O>> | MessageInitShape<O>;
}

/** The stream that answers a unary call as events. */
export interface Events<I extends DescMessage> {
  readonly endpoint: ServerStreamingEndpoint;
  /** @returns the stream's request. */
  toRequest(request: MessageShape<I>): Message;
}

/** An RPC that answers with a stream: its calls are held until they end (MAX_WAITING). */
export interface ServerStreamingEndpoint<
  I extends DescMessage = DescMessage,
  O extends DescMessage = DescMessage,
> extends Common<DescMethodServerStreaming<I, O>> {
  readonly heldAs: HeldKind;
  /** Ends, or throws, soon after the call was cancelled. @throws as a {@link UnaryEndpoint} does. */
  handle(request: MessageShape<I>, call: Call, context?: HandlerContext): AsyncIterable<MessageInitShape<O>>;
}

/** The same, for a stream of requests. */
export interface BidiStreamingEndpoint<
  I extends DescMessage = DescMessage,
  O extends DescMessage = DescMessage,
> extends Common<DescMethodBiDiStreaming<I, O>> {
  readonly heldAs: HeldKind;
  handle(
    requests: AsyncIterable<MessageShape<I>>,
    call: Call,
    context?: HandlerContext,
  ): AsyncIterable<MessageInitShape<O>>;
}

export type StreamingEndpoint = ServerStreamingEndpoint | BidiStreamingEndpoint;
export type Endpoint = UnaryEndpoint | StreamingEndpoint;

/** The full name of an RPC, `package.Service/Method`, as metrics and logs have it. */
export function fullName({ method }: Pick<Endpoint, "method">): string {
  return `${method.parent.typeName}/${method.name}`;
}

/** The path of an RPC in every protocol of RPCs. */
export function pathOfRpc(endpoint: Pick<Endpoint, "method">): string {
  return `/${fullName(endpoint)}`;
}

export function isUnary(endpoint: Endpoint): endpoint is UnaryEndpoint {
  return endpoint.method.methodKind === "unary";
}

export function isStreaming(endpoint: Endpoint): endpoint is StreamingEndpoint {
  const { methodKind } = endpoint.method;
  return methodKind === "server_streaming" || methodKind === "bidi_streaming";
}
