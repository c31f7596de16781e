/** The longest error text in a batch, in bytes of UTF-8: 1,000 of them fit into the 4 MiB that gRPC clients accept by default. */
const maxBytes = 3_072;

/**
 * The longest error text in a batch as JSON, in bytes without its quotes. In JSON, a control character takes six bytes, and
 * what stands beside an error in an item less than 150.
 */
const maxJsonBytes = 4_000;

/** As many UTF-16 code units, in bytes of JSON. */
const maxJsonBytesOfUnit = 6;

const scratch = Buffer.alloc(maxJsonBytes);

/** Characters and escape sequences that are whole. */
const wholeJson = /^(?:[^\\]|\\[^u]|\\u[0-9a-f]{4})*/;

/** Cuts an error text for a batch of up to 1,000 of them, never inside a character. @returns the text itself if it is short enough. */
export function cutForBatch(error: string): string {
  if (error.length * maxJsonBytesOfUnit <= maxJsonBytes) return error;
  const cut = prefix(error, maxBytes);
  const json = JSON.stringify(cut).slice(1, -1);
  const cutJson = prefix(json, maxJsonBytes);
  return cutJson === json ? cut : JSON.parse(`"${wholeJson.exec(cutJson)?.[0]}"`);
}

/** @returns the beginning of a text that fits into the limit of bytes of UTF-8, in whole characters: the text itself if it fits. */
function prefix(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  // TextEncoder.encodeInto would say how much it has read, and stops a character too early in some texts.
  return scratch.toString("utf8", 0, scratch.write(text, 0, bytes));
}
