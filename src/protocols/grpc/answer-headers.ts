let headers: readonly string[] | undefined;

/**
 * The headers of every answer to gRPC: names and values in turn, as node:http2 writes them fastest. Connect answers both of
 * gRPC's binary content types with this one. The date (RFC 9110, section 6.6.1) is written once a second: to ask the clock for
 * each call would cost more than to read the call.
 */
export function answerHeaders(): readonly string[] {
  headers ??= renew();
  return headers;
}

function renew(): readonly string[] {
  const now = new Date();
  setTimeout(forget, 1_000 - now.getMilliseconds()).unref();
  return [":status", "200", "content-type", "application/grpc+proto", "date", now.toUTCString()];
}

function forget(): void {
  headers = undefined;
}
