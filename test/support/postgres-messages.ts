/** A message of PostgreSQL's protocol (documentation, "Message Formats"), after the startup. */
export interface Message {
  /** One letter. What it means depends on the side that sends it. */
  readonly type: string;
  /** All of it: the type, the length and the content. */
  readonly bytes: Buffer;
}

const headSize = 5;

/** @param parts of the content. A string is sent with the zero byte that ends it. */
export function message(type: string, ...parts: readonly (string | Buffer)[]): Message {
  const content = Buffer.concat(
    parts.map((part) => (typeof part === "string" ? Buffer.from(`${part}\0`) : part)),
  );
  return { type, bytes: Buffer.concat([Buffer.from(type), int32(content.length + 4), content]) };
}

/** @returns the string at a position of the content, the position after it, and what comes there. */
export function readText({ bytes }: Message, at = 0) {
  const end = bytes.indexOf(0, headSize + at);
  const text = bytes.toString("utf8", headSize + at, end);
  return { text, end: end + 1 - headSize, rest: bytes.subarray(end + 1) };
}

/** @returns a function that takes bytes as they come, and returns the messages that are complete. */
export function messageReader(): (chunk: Buffer) => Message[] {
  let pending: Buffer = Buffer.alloc(0);
  return (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    const messages: Message[] = [];
    while (pending.length >= headSize) {
      const size = 1 + pending.readInt32BE(1);
      if (pending.length < size) break;
      messages.push({ type: pending.toString("latin1", 0, 1), bytes: pending.subarray(0, size) });
      pending = pending.subarray(size);
    }
    return messages;
  };
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}
