import type { DescMessage, Message, MessageInitShape } from "@bufbuild/protobuf";
import type { ServerStreamingEndpoint } from "../../endpoints/endpoint.ts";
import { letEndpointTime } from "../held-responses.ts";
import { FastCall } from "./fast-call.ts";
import { writeMessage } from "./framing.ts";

/** One server-streaming call of the fast path. */
export class StreamCall extends FastCall<ServerStreamingEndpoint> {
  /** Ends the wait for a client that does not read. */
  #goOn: (() => void) | undefined;

  override cancel(reason: unknown): void {
    super.cancel(reason);
    this.#goOn?.();
  }

  protected override async answer(request: Message): Promise<void> {
    const { stream } = this;
    letEndpointTime(stream, this);
    this.watchDeadline();
    try {
      const { endpoint, life } = this.served;
      for await (const message of life.stream(endpoint, request, this, this.observation, this)) {
        if (stream.closed) break;
        if (!this.#send(message)) await this.#drained();
      }
    } catch (reason) {
      if (!stream.closed) this.fail(reason);
      return;
    }
    if (!stream.closed) this.succeed();
  }

  /** @returns whether the client reads fast enough. */
  #send(message: MessageInitShape<DescMessage>): boolean {
    const bytes = writeMessage(this.method, this.served.codec, message);
    // Like Connect's adapter: until its first message, an endpoint may set headers.
    if (!this.stream.headersSent) this.respond();
    return this.stream.write(bytes);
  }

  /** Resolves when the client has read what was written, and when the call is cancelled. */
  async #drained(): Promise<void> {
    if (this.cancelled) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#goOn = resolve;
    this.stream.once("drain", resolve);
    await promise;
  }
}
