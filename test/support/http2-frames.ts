/** HTTP/2 frames (RFC 9113), for clients that send what no library would send. */

export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  resetStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8 } as const;

export const errorCode = { internal: 2, refusedStream: 7, cancel: 8, enhanceYourCalm: 11 } as const;

/** RFC 9113, section 6.5.2. */
export const setting = { maxConcurrentStreams: 3, initialWindowSize: 4 } as const;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** SETTINGS with one entry, or without any. */
export function settings(id?: number, value = 0): Buffer {
  const entry = id === undefined ? [] : [Buffer.from([0, id]), uint32(value)];
  return frame(frameType.settings, 0, 0, Buffer.concat(entry));
}

/** The client's connection preface (RFC 9113, section 3.4). */
export const preface = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), settings()]);

/** Header fields in HPACK without Huffman coding and without indexing (RFC 7541, section 6.2.2). */
export function headerBlock(fields: Readonly<Record<string, string>>): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value, "latin1");
    const length = bytes.length < 127 ? [bytes.length] : [127, ...varint(bytes.length - 127)];
    return Buffer.concat([Buffer.from(length), bytes]);
  };
  return Buffer.concat(
    Object.entries(fields).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  );
}

/** RFC 7541, section 5.1, after the prefix. */
function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
}

export const grpcCall = headerBlock({
  ":method": "POST",
  ":scheme": "http",
  ":path": "/gomemory.status.v1.StatusService/GetStatus",
  ":authority": "test",
  "content-type": "application/grpc",
  te: "trailers",
});

/** A call that is cancelled before its message is sent. */
export function cancelledCall(stream: number, code: number = errorCode.cancel): Buffer {
  return Buffer.concat([
    frame(frameType.headers, flag.endHeaders, stream, grpcCall),
    frame(frameType.resetStream, 0, stream, uint32(code)),
  ]);
}

/** Cancelled calls on the first streams of a connection. */
export function cancelledCalls(count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => cancelledCall(2 * index + 1)));
}

export function restCall(reqId: string): Buffer {
  const path = `/get_status/${reqId}`;
  return headerBlock({ ":method": "GET", ":scheme": "http", ":path": path, ":authority": "test" });
}

/** Splits received bytes into frames. @returns a function that takes the next bytes and returns the frames completed by them. */
export function frameReader(): (chunk: Buffer) => Frame[] {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    const frames: Frame[] = [];
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3);
      frames.push({
        type: rest[3] as number,
        flags: rest[4] as number,
        stream: rest.readUInt32BE(5) & 0x7fffffff,
        payload: rest.subarray(9, end),
      });
      rest = rest.subarray(end);
    }
    return frames;
  };
}
