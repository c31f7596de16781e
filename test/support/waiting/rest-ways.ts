import { once } from "node:events";
import { type IncomingMessage, type RequestOptions, request as requestHttp } from "node:http";
import { text } from "node:stream/consumers";
import { readEvents } from "./server-sent-events.ts";
import type { StreamCheck } from "./stream-check.ts";
import { type End, toldByJson, type Way } from "./way.ts";

/** @param wait in milliseconds. */
export function waitOverRest(wait: number): Way {
  return overRest("GetStatus with wait, REST", 1, false, async (url, check, signal) => {
    const [reqId = ""] = check.open;
    const response = await send(`${url}/get_status/${reqId}?wait=${wait}ms`, { signal });
    const body = await text(response);
    if (response.statusCode !== 200) return refusal(response);
    check.told(reqId, toldByJson(body));
    return { as: "OK", retryAfter: 0 };
  });
}

/** Waits between two calls as an EventSource does. */
export function eventsOverRest(): Way {
  return overRest("events, REST", 1, true, async (url, check, signal) => {
    const [reqId = ""] = check.open;
    const headers = { Accept: "text/event-stream" };
    const response = await send(`${url}/get_status/${reqId}`, { headers, signal });
    if (response.statusCode !== 200) return refusal(response);
    let retryAfter = 3_000;
    for await (const { event, data, retry } of readEvents(response)) {
      retryAfter = retry ?? retryAfter;
      if (event === "status") check.told(reqId, toldByJson(data));
      if (event === "gone") check.told(reqId, undefined);
      if (event !== "end" && event !== "unavailable") continue;
      const { reason } = JSON.parse(data);
      return { as: reason === "FINAL" || reason === "GONE" ? "OK" : reason, retryAfter };
    }
    return { as: "the events end without `end`", retryAfter, isLost: true };
  });
}

/** Polls. @param pause between two calls, in milliseconds. */
export function batchOverRest(ids: number, pause: number): Way {
  return overRest("BatchGetStatus, REST", ids, false, async (url, check, signal) => {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ reqIds: [...check.open] });
    const response = await send(`${url}/get_status:batch`, { method: "POST", headers, signal }, body);
    const answer = await text(response);
    if (response.statusCode !== 200) return refusal(response);
    for (const { reqId, status, error } of JSON.parse(answer).items) {
      if (status !== undefined) check.told(reqId, toldByJson(JSON.stringify(status)));
      else if (error.reason === "STATUS_NOT_FOUND") check.told(reqId, undefined);
    }
    return { as: "OK", retryAfter: pause };
  });
}

/** Each call has a connection of its own: one that is kept may be closed at the moment when it is used again. */
async function send(url: string, options: RequestOptions, body?: string): Promise<IncomingMessage> {
  const request = requestHttp(url, { ...options, agent: false });
  request.end(body);
  const [response] = await once(request, "response");
  return response;
}

function refusal({ statusCode, headers }: IncomingMessage): End {
  const reason = headers["error-reason"];
  const seconds = Number(headers["retry-after"] ?? 0.5);
  return {
    as: typeof reason === "string" ? reason : `HTTP status ${statusCode}`,
    retryAfter: 1_000 * seconds,
    ...(reason === undefined && { isLost: true }),
  };
}

function overRest(
  name: string,
  ids: number,
  isStream: boolean,
  call: (url: string, check: StreamCheck, signal: AbortSignal) => Promise<End>,
): Way {
  return {
    name,
    ids,
    isStream,
    async attempt(url, _client, check, signal) {
      try {
        return await call(url, check, signal);
      } catch (error) {
        return { as: String(error), retryAfter: 500, isLost: true };
      }
    },
    [Symbol.dispose]() {},
  };
}
