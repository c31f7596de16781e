import { parseList } from "./header-list.ts";

/** Spares nearly every call the parsing of its header. */
const named = /text\/event-stream/i;

/** `weight` (RFC 9110, section 12.4.2). */
const quality = /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/;

/** What JSON is accepted by, the most specific first: it alone counts (RFC 9110, section 12.5.1). */
const rangesOfJson = ["application/json", "application/*", "*/*"];

/**
 * Whether a caller asks for events: it names `text/event-stream`, and prefers it to JSON or accepts both alike. `*` stands for
 * JSON alone, since callers that do not know of events send it.
 */
export function asksForEvents(accept: string | undefined): boolean {
  if (accept === undefined || !named.test(accept)) return false;
  const qualities = new Map<string, number>();
  for (const [[range] = [""], ...parameters] of parseList(accept)) {
    const weight = parameters.find(([name]) => name === "q")?.[1] ?? "1";
    if (quality.test(weight)) qualities.set(range, Math.max(qualities.get(range) ?? 0, Number(weight)));
  }
  const ofEvents = qualities.get("text/event-stream") ?? 0;
  const ofJson = qualities.get(rangesOfJson.find((range) => qualities.has(range)) ?? "") ?? 0;
  return ofEvents > 0 && ofEvents >= ofJson;
}
