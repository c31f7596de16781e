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

/** The messages of a statement that do not depend on its parameters. */
interface Messages {
  /** What comes before Bind. */
  readonly before: Readonly<Record<Sending, Buffer>>;
  /** The statement's name in Bind. */
  readonly name: Readonly<Record<Sending, Buffer>>;
}

/** By the statement's text: there are few, and none comes from a caller. */
const known = new Map<string, Messages>();

/**
 * The name under which a statement is prepared. Clients may share a server's connection without knowing: by the same name, all
 * that make names like this mean the same statement.
 */
export function nameOf(sql: string): string {
  return `gomemory_${createHash("sha256").update(sql).digest("hex").slice(0, 32)}`;
}

function messagesOf(sql: string): Messages {
  const found = known.get(sql);
  if (found !== undefined) return found;
  const name = nameOf(sql);
  const messages: Messages = {
    before: {
      unnamed: encodeParse("", sql),
      // Close is no error where there is no such statement. Parse would be one where there is.
      prepare: Buffer.concat([encodeClose(name), encodeParse(name, sql)]),
      prepared: Buffer.alloc(0),
    },
    name: { unnamed: encodeText(""), prepare: encodeText(name), prepared: encodeText(name) },
  };
  known.set(sql, messages);
  return messages;
}

/** @returns the messages of all statements in one transaction. Parameters and columns are texts; the server finds out their types. */
export function encodeStatements(queries: readonly CompiledQuery[], sendings: readonly Sending[]): Buffer {
  const size = queries.reduce(
    (sum, query, index) => sum + sizeOf(query, sendings[index] as Sending),
    sync.length,
  );
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  for (const [index, query] of queries.entries()) at = write(query, sendings[index] as Sending, bytes, at);
  sync.copy(bytes, at);
  return bytes;
}

function sizeOf({ sql, parameters }: CompiledQuery, sending: Sending): number {
  const { before } = messagesOf(sql);
  return before[sending].length + 1 + bindLength(sql, parameters, sending) + execute.length;
}

function bindLength(sql: string, parameters: readonly unknown[], sending: Sending): number {
  let length = lengthSize + 1 + messagesOf(sql).name[sending].length + 2 + 2 + 2;
  for (const value of parameters) length += 4 + Buffer.byteLength(value as string);
  return length;
}

function write({ sql, parameters }: CompiledQuery, sending: Sending, bytes: Buffer, from: number): number {
  const { before, name } = messagesOf(sql);
  let at = from + before[sending].copy(bytes, from);
  at = bytes.writeUInt8(0x42, at);
  at = bytes.writeInt32BE(bindLength(sql, parameters, sending), at);
  // No name for the portal.
  at = bytes.writeUInt8(0, at);
  at += name[sending].copy(bytes, at);
  // No formats: all parameters are texts.
  at = bytes.writeInt16BE(0, at);
  at = bytes.writeInt16BE(parameters.length, at);
  for (const value of parameters) {
    const length = bytes.write(value as string, at + 4);
    bytes.writeInt32BE(length, at);
    at += 4 + length;
  }
  at = bytes.writeInt16BE(0, at);
  return at + execute.copy(bytes, at);
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
