import type { CompiledQuery } from "kysely";

/** PostgreSQL's messages for an unnamed statement (documentation, "Message Formats", extended query protocol). */

const lengthSize = 4;

/** Sync: the statement ends, and with it its transaction. */
export const sync = Buffer.from([0x53, 0, 0, 0, lengthSize]);

/** Execute: runs the unnamed portal, for all its rows. */
const execute = Buffer.from([0x45, 0, 0, 0, lengthSize + 1 + 4, 0, 0, 0, 0, 0]);

/** By the statement's text: there are few, and none comes from a caller. */
const parseMessages = new Map<string, Buffer>();

/** @returns Parse, Bind and Execute. Parameters and columns are texts; the server finds out their types. */
export function encodeStatement({ sql, parameters }: CompiledQuery): Buffer {
  const parse = parseMessages.get(sql) ?? encodeParse(sql);
  const values = parameters as readonly string[];
  const lengths = values.map((value) => Buffer.byteLength(value));
  const bindLength = lengths.reduce((sum, length) => sum + 4 + length, lengthSize + 1 + 1 + 2 + 2 + 2);
  const bytes = Buffer.allocUnsafe(parse.length + 1 + bindLength + execute.length);
  let at = parse.copy(bytes);
  at = bytes.writeUInt8(0x42, at);
  at = bytes.writeInt32BE(bindLength, at);
  // No name for the portal, none for the statement, no formats: all parameters are texts.
  at = bytes.writeInt32BE(0, at);
  at = bytes.writeInt16BE(values.length, at);
  for (const [index, value] of values.entries()) {
    at = bytes.writeInt32BE(lengths[index] as number, at);
    at += bytes.write(value, at);
  }
  at = bytes.writeInt16BE(0, at);
  execute.copy(bytes, at);
  return bytes;
}

function encodeParse(sql: string): Buffer {
  const length = lengthSize + 1 + Buffer.byteLength(sql) + 1 + 2;
  const bytes = Buffer.alloc(1 + length);
  bytes.writeUInt8(0x50);
  bytes.writeInt32BE(length, 1);
  // No name, the text, no types.
  bytes.write(sql, 1 + lengthSize + 1);
  parseMessages.set(sql, bytes);
  return bytes;
}
