import { toConnectError } from "../../endpoints/errors.ts";
import { overloaded } from "../../status/errors.ts";
import type { HttpHandler } from "../http.ts";

/** The bytes of each message that do not count: however many large ones come, usual calls are not shed for them. */
const uncounted = 2 ** 14;

function countOf(received: number): number {
  return Math.max(0, received - uncounted);
}

/**
 * Has requests give the adapter their messages, with what it leaves open:
 *
 * - It bounds each message, and not all of them. A client may have many half sent, or wait to be decompressed, each almost as
 *   large as one may be. What comes of a request counts until its response is over; what is too much is shed.
 * - It destroys a request when it refuses its message, and Node then never reads what is left of it: over HTTP/1.1 the next
 *   request on the connection waits for it until both time out, over HTTP/2 the stream stays for ever.
 */
export function createReceiver(maxReceivingSize: number): HttpHandler {
  let receiving = 0;

  return (request, response) => {
    // Over HTTP/2, the response itself finishes with the stream, and the stream not before the request is read.
    const sent = "stream" in response ? response.stream : response;
    let received = 0;
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
        if (receiving + more > maxReceivingSize) throw toConnectError(overloaded("MAX_RECEIVING_SIZE"));
        received += chunk.length;
        receiving += more;
        yield chunk;
      }
    }
    request[Symbol.asyncIterator] = iterate;
  };
}
