/** A request of a client that waits. */
export interface Request {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Present: the request is a POST. */
  readonly body?: Buffer;
}

/** What a client does with the answer to one request, which arrives over time. */
export interface AnswerHandler {
  onBytes(bytes: Buffer): void;
  /** Called once, at the end of the answer, however it came about. */
  onEnd(ending: Ending): void;
}

export interface Ending {
  /** The HTTP status. Undefined: the exchange ended before it. */
  readonly status: number | undefined;
  /** `grpc-status`, from the trailers or from the headers. */
  readonly grpcStatus: string | undefined;
  /** The header `Error-Reason`. */
  readonly reason: string | undefined;
  /** Whether the answer arrived as a whole. */
  readonly isWhole: boolean;
}

/** One request whose answer arrives over time. */
export interface Exchange {
  /** Reads nothing more until {@link resume}. */
  pause(): void;
  resume(): void;
  /** Resets the stream over HTTP/2, and closes the connection over HTTP/1.1. */
  cancel(): void;
  /** Resets the TCP connection, with all that it carries. */
  resetConnection(): void;
}

/** The connections of many clients to one server. */
export interface Connections {
  /** @param client the number of the client: over HTTP/2 it decides which connection is used. */
  send(client: number, request: Request, handler: AnswerHandler): Exchange;
  /** Closes all connections at once. Answers that have not ended are broken off. */
  close(): void;
}

export const address = "127.0.0.1";
