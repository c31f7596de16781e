/** A name, in lower case, with its value where it has one: of an item of a list, or of one of the item's parameters. */
export type Part = readonly [name: string, value: string | undefined];

const part = /[ \t]*([^\s",;=]*)(?:[ \t]*=[ \t]*(?:([^\s",;=]+)|"((?:[^"\\]|\\.)*)"))?[ \t]*([,;]|$)/y;

/**
 * Reads a header whose value is a list of items with parameters (RFC 9110, sections 5.6.1 and 5.6.6; RFC 7240, section 2):
 * `text/html;level=1, text/*;q=0.5` or `respond-async, wait=10`.
 *
 * @returns the items, each with its parameters behind it. None for a list that is malformed anywhere.
 */
export function parseList(header: string): Part[][] {
  const items: Part[][] = [[]];
  part.lastIndex = 0;
  while (part.lastIndex < header.length) {
    const match = part.exec(header);
    if (match === null) return [];
    const [, name = "", token, quoted, end] = match;
    // Empty items and parameters are allowed, and mean nothing.
    if (name !== "") items.at(-1)?.push([name.toLowerCase(), token ?? quoted?.replace(/\\(.)/g, "$1")]);
    if (end === ",") items.push([]);
  }
  return items.filter(({ length }) => length > 0);
}
