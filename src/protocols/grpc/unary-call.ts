import type { Message } from "@bufbuild/protobuf";
import type { UnaryEndpoint } from "../../endpoints/endpoint.ts";
import { FastCall } from "./fast-call.ts";
import { writeMessage } from "./framing.ts";

/** One unary call of the fast path. */
export class UnaryCall extends FastCall<UnaryEndpoint> {
  protected override async answer(request: Message): Promise<void> {
    let body: Buffer | undefined;
    let failure: unknown;
    try {
      const { codec, endpoint, life } = this.served;
      const response = await life.unary(endpoint, request, this, this);
      body = writeMessage(this.method, codec, response);
    } catch (reason) {
      failure = reason;
    }
    const { stream } = this;
    if (!stream.readableEnded) await this.#end();
    if (stream.destroyed || stream.closed || this.hasFallenBack) return;
    if (body === undefined) this.fail(failure);
    else this.#send(body);
  }

  /** More may follow the message, which would make it another request. */
  #end(): Promise<void> {
    return new Promise((resolve) => this.stream.once("end", resolve));
  }

  #send(body: Buffer): void {
    this.respond();
    const { sentTrailer: trailer } = this;
    if (trailer !== undefined) this.trailers = { ...Object.fromEntries(trailer), ...this.trailers };
    this.stream.end(body);
    this.observation.end("OK");
  }
}
