import type { Socket } from "node:net";
import { idLength, idOf, variety, writeId } from "../rows.ts";
import { type Connection, type ConnectionEvents, openSocket } from "./connection.ts";

const endOfHead = Buffer.from("\r\n\r\n");
const statusOk = Buffer.from("HTTP/1.1 200 ");
const statusShed = Buffer.from("HTTP/1.1 503 ");
const newline = 0x0a;

/**
 * A keep-alive connection with one call at a time.
 *
 * @param answers the body of each right answer, by row modulo `variety`.
 */
export async function connectHttp1(
  port: number,
  answers: readonly Buffer[],
  events: ConnectionEvents,
): Promise<Connection> {
  const request = Buffer.from(
    `GET /get_status/${" ".repeat(idLength)} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: application/json\r\n\r\n`,
  );
  const idAt = request.indexOf(" ".repeat(idLength));
  let calledRow = 0;
  let calledDue = 0;
  let waiting = false;
  let rest: Buffer | undefined;
  let closing = false;

  const connection: Connection = {
    call(row, due) {
      waiting = true;
      calledRow = row;
      calledDue = due;
      // The socket no longer reads this memory: the request before has been answered.
      writeId(row, request, idAt);
      socket.write(request);
    },
    flush() {},
    close() {
      closing = true;
      socket.destroy();
    },
  };

  function onBytes(bytes: Buffer): void {
    const response = rest === undefined ? bytes : Buffer.concat([rest, bytes]);
    const bodyAt = response.indexOf(endOfHead) + endOfHead.length;
    const length = bodyAt < endOfHead.length ? Number.POSITIVE_INFINITY : contentLength(response, bodyAt);
    if (response.length < bodyAt + length) {
      rest = Buffer.from(response);
      return;
    }
    rest = undefined;
    if (!waiting || response.length > bodyAt + length) throw wrong(response, "nothing more");
    waiting = false;
    if (response.compare(statusShed, 0, statusShed.length, 0, statusShed.length) === 0) {
      events.onShed(connection, calledDue);
    } else {
      check(response, bodyAt);
      events.onAnswer(connection, calledDue);
    }
  }

  function check(response: Buffer, bodyAt: number): void {
    const answer = answers[calledRow % variety] as Buffer;
    // Go's json.Encoder ends its output with a newline.
    const end = response[response.length - 1] === newline ? response.length - 1 : response.length;
    const right =
      response.compare(statusOk, 0, statusOk.length, 0, statusOk.length) === 0 &&
      response.compare(answer, 0, answer.length, bodyAt, end) === 0;
    if (!right) throw wrong(response, answer.toString());
  }

  function wrong(response: Buffer, wanted: string): Error {
    return new Error(`wrong answer for ${idOf(calledRow)}: got ${response.toString()}, want ${wanted}`);
  }

  const socket: Socket = await openSocket(port, onBytes, (error) => {
    if (!closing) events.onFailure(error);
  });
  return connection;
}

const lengthName = Buffer.from("content-length:");
/** The bit that is set in every lower-case letter, and in the hyphen and the colon. */
const lowerCase = 0x20;
const space = 0x20;
const carriageReturn = 0x0d;

/** Reads the value of Content-Length from the head that ends at `end`. */
function contentLength(response: Buffer, end: number): number {
  let matched = 0;
  for (let at = statusOk.length; at < end; at++) {
    const byte = (response[at] as number) | lowerCase;
    if (byte === lengthName[matched]) matched++;
    else matched = byte === lengthName[0] ? 1 : 0;
    if (matched === lengthName.length) return number(response, at + 1);
  }
  throw new Error(`an answer without Content-Length: ${response.toString("latin1", 0, end)}`);
}

function number(text: Buffer, at: number): number {
  let value = 0;
  for (let i = at; text[i] !== carriageReturn; i++) {
    if (text[i] !== space) value = value * 10 + (text[i] as number) - 0x30;
  }
  return value;
}
