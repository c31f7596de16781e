/** The fields that a request's headers may have, over HTTP/1.1 and HTTP/2 alike. */
export const mostFields = 1_024;

/** What RFC 9113, section 6.5.2 adds to the size of each field, in bytes. */
const fieldOverhead = 32;

/**
 * Whether a request's headers are more than is taken. Over HTTP/1.1, Node itself refuses what is larger.
 *
 * @param rawHeaders names and values in turn.
 * @param most bytes of names and values.
 */
export function isTooLarge(rawHeaders: readonly string[], most: number): boolean {
  if (rawHeaders.length > 2 * mostFields) return true;
  let size = 0;
  for (let at = 0; at < rawHeaders.length; at++) size += (rawHeaders[at] as string).length;
  return size > most;
}

/**
 * What node:http2 has to take, so that what is too large can be answered: it resets a stream beyond that. It announces the
 * same number, by which no client holds back what would be taken (SETTINGS_MAX_HEADER_LIST_SIZE, RFC 9113, section 6.5.2).
 *
 * @param most bytes of names and values that are served.
 */
export function readHeaders(most: number): { readonly size: number; readonly fields: number } {
  const size = 2 * most + fieldOverhead * mostFields;
  return { size, fields: Math.ceil(size / fieldOverhead) };
}
