import type { Socket } from "node:net";
import { flag, frame, frameType as type, uint32 } from "../../test/support/http2-frames.ts";
import { idLength, idOf, variety, writeId } from "../rows.ts";
import { type Connection, type ConnectionEvents, openSocket } from "./connection.ts";
import { firstHeaders, laterHeaders } from "./hpack.ts";

const frameHead = 9;
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const initialWindow = 65_535;
const largestWindow = 2 ** 31 - 1;

/** GetStatusRequest in a DATA frame: gRPC's flag and length, then field 1 with the id. */
const message = Buffer.concat([
  Buffer.from([0, 0, 0, 0, 2 + idLength, 0x0a, idLength]),
  Buffer.alloc(idLength),
]);

interface Stream {
  readonly row: number;
  readonly due: number;
  message: Buffer | undefined;
  right: boolean;
}

/**
 * An HTTP/2 connection with prior knowledge and concurrent gRPC calls.
 *
 * It implements as much of RFC 9113 as a client of small answers needs. The headers are those of grpc-go's client: all
 * calls but the first refer to HPACK's dynamic table. An answer is right when its one message is the expected one, byte for
 * byte, and headers that end the stream follow. The trailers are not decoded.
 *
 * @param answers the message of each right answer with gRPC's prefix, by row modulo `variety`.
 */
export async function connectHttp2(
  port: number,
  answers: readonly Buffer[],
  events: ConnectionEvents,
): Promise<Connection> {
  const streams = new Map<number, Stream>();
  const first = callFrames(firstHeaders(`127.0.0.1:${port}`));
  const later = callFrames(laterHeaders());
  let nextStream = 1;
  let window = initialWindow;
  let received = 0;
  let output: Buffer[] = [];
  let rest: Buffer | undefined;
  let closing = false;
  const ready = Promise.withResolvers<void>();

  const connection: Connection = {
    call(row, due) {
      const frames = Buffer.from(nextStream === 1 ? first : later);
      const data = frames.length - message.length;
      frames.writeUInt32BE(nextStream, 5);
      frames.writeUInt32BE(nextStream, data - 4);
      writeId(row, frames, frames.length - idLength);
      streams.set(nextStream, { row, due, message: undefined, right: false });
      nextStream += 2;
      window -= message.length;
      if (window < 0)
        throw new Error("the server's flow-control window is used up, and the server has not updated it");
      output.push(frames);
    },
    flush() {
      if (output.length > 0)
        socket.write(output.length === 1 ? (output[0] as Buffer) : Buffer.concat(output));
      output = [];
    },
    close() {
      closing = true;
      socket.destroy();
    },
  };

  function onBytes(bytes: Buffer): void {
    const input = rest === undefined ? bytes : Buffer.concat([rest, bytes]);
    let at = 0;
    while (at + frameHead <= input.length) {
      const end = at + frameHead + input.readUIntBE(at, 3);
      if (end > input.length) break;
      onFrame(
        input[at + 3] as number,
        input[at + 4] as number,
        input.readUInt32BE(at + 5),
        input,
        at + frameHead,
        end,
      );
      at = end;
    }
    rest = at < input.length ? Buffer.from(input.subarray(at)) : undefined;
    connection.flush();
  }

  function onFrame(kind: number, flags: number, id: number, input: Buffer, from: number, to: number): void {
    if (kind === type.data) onData(id, flags, input, from, to);
    else if (kind === type.headers) onHeaders(id, flags);
    else if (kind === type.windowUpdate) window += id === 0 ? input.readUInt32BE(from) : 0;
    else if (kind === type.settings && (flags & flag.ack) === 0) {
      output.push(frame(type.settings, flag.ack, 0, Buffer.alloc(0)));
      ready.resolve();
    } else if (kind === type.ping && (flags & flag.ack) === 0) {
      output.push(frame(type.ping, flag.ack, 0, input.subarray(from, to)));
    } else if (kind === type.goaway || kind === type.resetStream) {
      throw new Error(`the server sent ${kind === type.goaway ? "GOAWAY" : `RST_STREAM for stream ${id}`}`);
    }
  }

  function onData(id: number, flags: number, input: Buffer, from: number, to: number): void {
    const stream = streams.get(id);
    if (stream === undefined || (flags & flag.padded) !== 0) throw new Error("an unexpected DATA frame");
    if (from === to) return;
    const answer = answers[stream.row % variety] as Buffer;
    if (stream.message === undefined && input.compare(answer, 0, answer.length, from, to) === 0) {
      stream.right = true;
    } else {
      stream.message = Buffer.concat([stream.message ?? Buffer.alloc(0), input.subarray(from, to)]);
      stream.right = stream.message.equals(answer);
    }
    received += to - from;
    if (received > largestWindow / 2) {
      output.push(frame(type.windowUpdate, 0, 0, uint32(received)));
      received = 0;
    }
  }

  function onHeaders(id: number, flags: number): void {
    if ((flags & flag.endStream) === 0) return;
    const stream = streams.get(id);
    if (stream === undefined) throw new Error("an unexpected HEADERS frame");
    if (stream.message === undefined && !stream.right) {
      streams.delete(id);
      events.onShed(connection, stream.due);
      return;
    }
    if (!stream.right) {
      const wanted = answers[stream.row % variety]?.toString("hex");
      throw new Error(
        `wrong answer for ${idOf(stream.row)}: got ${stream.message?.toString("hex")}, want ${wanted}`,
      );
    }
    streams.delete(id);
    events.onAnswer(connection, stream.due);
  }

  const socket: Socket = await openSocket(port, onBytes, (error) => {
    if (!closing) events.onFailure(error);
  });
  socket.write(preface);
  socket.write(frame(type.settings, 0, 0, Buffer.alloc(0)));
  socket.write(frame(type.windowUpdate, 0, 0, uint32(largestWindow - initialWindow)));
  await ready.promise;
  return connection;
}

/** HEADERS and DATA of one call, without its stream number and id. */
function callFrames(headerBlock: Buffer): Buffer {
  return Buffer.concat([
    frame(type.headers, flag.endHeaders, 0, headerBlock),
    frame(type.data, flag.endStream, 0, message),
  ]);
}
