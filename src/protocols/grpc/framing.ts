import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type Message,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";

/** Reads and writes a method's messages faster than protobuf does, and exactly as it does. */
export interface Codec<I extends DescMessage = DescMessage, O extends DescMessage = DescMessage> {
  /** @param offset where the message begins. @returns undefined for whatever is unusual: then protobuf reads it. */
  decode(bytes: Buffer, offset: number): MessageShape<I> | undefined;
  /** @param offset how many bytes to leave free in front. @returns undefined for whatever is unusual. */
  encode(message: MessageInitShape<O>, offset: number): Buffer | undefined;
}

/** gRPC over HTTP/2, "Length-Prefixed-Message": one byte says whether it is compressed, four how long it is. */
const prefixLength = 5;

/** So much, in bytes, fits into one frame of any peer (RFC 9113, section 4.2). What is longer comes in pieces. */
const maxMessageLength = 16_384 - prefixLength;

/** @returns undefined for anything but one uncompressed message of the kind, whole and alone. */
export function readMessage(
  { input }: DescMethod,
  codec: Codec | undefined,
  body: Buffer,
): Message | undefined {
  const length = body.length - prefixLength;
  if (length < 0 || length > maxMessageLength || body[0] !== 0 || body.readUInt32BE(1) !== length)
    return undefined;
  try {
    return codec?.decode(body, prefixLength) ?? fromBinary(input, body.subarray(prefixLength));
  } catch {
    return undefined;
  }
}

/** @returns the message behind its prefix. */
export function writeMessage(
  { output }: DescMethod,
  codec: Codec | undefined,
  answer: MessageInitShape<DescMessage>,
): Buffer {
  let body = codec?.encode(answer, prefixLength);
  if (body === undefined) {
    const message = create(output, answer);
    body = Buffer.concat([Buffer.alloc(prefixLength), toBinary(output, message)]);
  }
  body[0] = 0;
  body.writeUInt32BE(body.length - prefixLength, 1);
  return body;
}
