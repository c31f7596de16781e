import { overloaded, type StatusError } from "../status/errors.ts";
import type { HttpRequest, HttpResponse } from "./http.ts";

/** The bytes of each message that do not count: however many large ones come, usual calls are not shed for them. */
const uncounted = 2 ** 14;

function countOf(received: number): number {
  return Math.max(0, received - uncounted);
}

/**
 * Has a request give its message, once, as its async iterator, within the limit of all.
 *
 * @param toError makes what the iterator throws of the error of a request that is shed.
 */
export type Receive = (
  request: HttpRequest,
  response: HttpResponse,
  toError: (shed: StatusError) => Error,
) => void;

/**
 * Receives messages, with what the protocols leave open:
 *
 * - They bound each message, and not all of them. A client may have many half sent, or wait to be decompressed, each almost as
 *   large as one may be. What comes of a request counts until its response is over; what is too much is shed.
 * - A request that is destroyed when its message is refused is one of which Node never reads what is left: over HTTP/1.1 the
 *   next request on the connection waits for it until both time out, over HTTP/2 the stream stays for ever.
 */
export function createReceiver(maxReceivingSize: number): Receive {
  let receiving = 0;

  return (request, response, toError) => {
    // Over HTTP/2, the response itself finishes with the stream, and the stream not before the request is read.
    const sent = "stream" in response ? response.stream : response;
    let received = 0;
    // The request may break off when its message is not read any more, and an error without a listener ends the process.
    request.on("error", ignore);
    sent.once("finish", () => request.resume());
    sent.once("close", () => {
      receiving -= countOf(received);
      // What is still read behind the answer belongs to no call.
      received = Number.NEGATIVE_INFINITY;
    });

    async function* iterate(): AsyncGenerator<Buffer, undefined> {
      // The caller waits for leave to send its message: its headers were no reason to refuse it (RFC 9110, section 10.1.1).
      if (/^100-continue$/i.test(request.headers.expect ?? "")) response.writeContinue();
      for await (const chunk of request.iterator({ destroyOnReturn: false })) {
        const more = countOf(received + chunk.length) - countOf(received);
        if (receiving + more > maxReceivingSize) throw toError(overloaded("MAX_RECEIVING_SIZE"));
        received += chunk.length;
        receiving += more;
        yield chunk;
      }
    }
    request[Symbol.asyncIterator] = iterate;
  };
}

function ignore(): void {}
