import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";
import { answerNow, type Call } from "../status/call.ts";
import { goingAway } from "../status/errors.ts";
import type { HttpResponse } from "./http.ts";
import { type Link, LinkedList } from "./linked-list.ts";

/** What carries calls: an HTTP/2 session, or the socket of an HTTP/1.1 connection. */
type Connection = (Http2Session | Socket) & { [held]?: LinkedList<Call> };

const held = Symbol("held");

/**
 * Lists a call with its connection as long as it is held open, so that it ends when the connection has to.
 *
 * @returns takes it off the list.
 */
export function holdOnConnection(response: HttpResponse, call: Call): () => void {
  const connection = connectionOf(response);
  if (connection === undefined) return () => {};
  connection[held] ??= new LinkedList();
  const link: Link<Call> = connection[held].add(call);
  // The end of the request may be that of the sending side, too.
  if ("readableEnded" in connection && connection.readableEnded) call.cancel(answerNow);
  return () => link.remove();
}

/** Has the calls that are held on an HTTP/1.1 connection answer, since its caller has ended its sending side or has gone. */
export function answerHeldCalls(connection: Connection): void {
  endHeldCalls(connection, answerNow);
}

/** Ends the calls that are held on a connection with `GOING_AWAY`. @returns whether there were any. */
export function sendAwayHeldCalls(connection: Connection): boolean {
  return endHeldCalls(connection, goingAway);
}

function endHeldCalls(connection: Connection, reason: unknown): boolean {
  const calls = connection[held]?.toArray() ?? [];
  for (const call of calls) call.cancel(reason);
  return calls.length > 0;
}

/** @returns undefined when the connection is gone. */
function connectionOf(response: HttpResponse): Connection | undefined {
  return "stream" in response ? response.stream.session : response.req.socket;
}
