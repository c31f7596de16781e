import { createHash } from "node:crypto";
import type { CompiledQuery } from "kysely";

/** PostgreSQL's messages for a statement (documentation, "Message Formats", extended query protocol). */

const lengthSize = 4;

/** Sync: the statement ends, and with it its transaction. */
const sync = Buffer.from([0x53, 0, 0, 0, lengthSize]);

/** Execute: runs the unnamed portal, for all its rows. */
const execute = Buffer.from([0x45, 0, 0, 0, lengthSize + 1 + 4, 0, 0, 0, 0, 0]);

/** How a statement is sent: with its text and without a name; prepared under its name, and run; or run as it was prepared. */
export type Sending = "unnamed" | "prepare" | "prepared";

/** What comes before Bind, and the statement's name in Bind: they do not depend on the parameters. */
interface Messages {
  readonly before: Buffer;
  readonly name: Buffer;
}

/** By the statement's text: there are few, and none comes from a caller. */
const known = new Map<string, Readonly<Record<Sending, Messages>>>();

/**
 * The name under which a statement is prepared. Clients may share a server's connection without knowing: by the same name, all
 * that make names like this mean the same statement.
 */
export function nameOf(sql: string): string {
  return `gomemory_${createHash("sha256").update(sql).digest("hex").slice(0, 32)}`;
}

function messagesOf(sql: string): Readonly<Record<Sending, Messages>> {
  const found = known.get(sql);
  if (found !== undefined) return found;
  const text = nameOf(sql);
  const name = encodeText(text);
  const messages = {
    unnamed: { before: encodeParse("", sql), name: encodeText("") },
    // Close is no error where there is no such statement. Parse would be one where there is.
    prepare: { before: Buffer.concat([encodeClose(text), encodeParse(text, sql)]), name },
    prepared: { before: Buffer.alloc(0), name },
  };
  known.set(sql, messages);
  return messages;
}

/** @returns the messages of all statements, in one transaction. Parameters and columns are texts; the server finds out their types. */
export function encodeStatements(queries: readonly CompiledQuery[], sendings: readonly Sending[]): Buffer {
  return Buffer.concat([
    ...queries.map((query, index) => encodeStatement(query, sendings[index] as Sending)),
    sync,
  ]);
}

function encodeStatement({ sql, parameters }: CompiledQuery, sending: Sending): Buffer {
  const { before, name } = messagesOf(sql)[sending];
  const values = parameters as readonly string[];
  const lengths = values.map((value) => Buffer.byteLength(value));
  const bindLength = lengths.reduce(
    (sum, length) => sum + 4 + length,
    lengthSize + 1 + name.length + 2 + 2 + 2,
  );
  const bytes = Buffer.allocUnsafe(before.length + 1 + bindLength + execute.length);
  let at = before.copy(bytes);
  at = bytes.writeUInt8(0x42, at);
  at = bytes.writeInt32BE(bindLength, at);
  // No name for the portal.
  at = bytes.writeUInt8(0, at);
  at += name.copy(bytes, at);
  // No formats: all parameters are texts.
  at = bytes.writeInt16BE(0, at);
  at = bytes.writeInt16BE(values.length, at);
  for (const [index, value] of values.entries()) {
    at = bytes.writeInt32BE(lengths[index] as number, at);
    at += bytes.write(value, at);
  }
  at = bytes.writeInt16BE(0, at);
  execute.copy(bytes, at);
  return bytes;
}

function encodeParse(name: string, sql: string): Buffer {
  // No types of parameters.
  return encodeMessage(0x50, Buffer.concat([encodeText(name), encodeText(sql), Buffer.alloc(2)]));
}

function encodeClose(name: string): Buffer {
  return encodeMessage(0x43, Buffer.concat([Buffer.from("S"), encodeText(name)]));
}

function encodeMessage(type: number, content: Buffer): Buffer {
  const head = Buffer.alloc(1 + lengthSize);
  head.writeUInt8(type);
  head.writeInt32BE(lengthSize + content.length, 1);
  return Buffer.concat([head, content]);
}

function encodeText(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}
