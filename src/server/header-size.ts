/** How many fields a request's headers may have, over HTTP/1.1 and HTTP/2 alike. */
export const maxHeaderFields = 1_024;

/** What RFC 9113, section 6.5.2 adds to the size of each field, in bytes. */
const fieldOverhead = 32;

/**
 * Whether a request's headers exceed the limits. Over HTTP/1.1, Node itself refuses larger ones.
 *
 * @param rawHeaders names and values in turn.
 * @param maxSize bytes of names and values.
 */
export function isTooLarge(rawHeaders: readonly string[], maxSize: number): boolean {
  if (rawHeaders.length > 2 * maxHeaderFields) return true;
  let size = 0;
  for (let at = 0; at < rawHeaders.length; at++) size += (rawHeaders[at] as string).length;
  return size > maxSize;
}

/**
 * The limits of node:http2 itself, beyond which it resets a stream: greater than ours, so that a request whose headers are too
 * large gets a response. It announces the same size, so that no client holds back a request that would be served
 * (SETTINGS_MAX_HEADER_LIST_SIZE, RFC 9113, section 6.5.2).
 *
 * @param maxSize bytes of names and values that are served.
 */
export function http2HeaderLimits(maxSize: number): { readonly size: number; readonly fields: number } {
  const size = 2 * maxSize + fieldOverhead * maxHeaderFields;
  return { size, fields: Math.ceil(size / fieldOverhead) };
}
