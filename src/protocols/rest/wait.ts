import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { invalidWait } from "../../status/errors.ts";
import type { HttpRequest } from "../http.ts";
import { parseList } from "./header-list.ts";

type Duration = MessageInitShape<typeof DurationSchema>;

/** How long a caller asks to wait. */
export interface AskedWait {
  readonly wait: Duration;
  /** The same in whole seconds, if the header `Prefer` asks for it. */
  readonly preferred?: number;
}

/** The field that a query, or a preference, of the same name is the value of. */
export const waitField = "wait";

/** Whether the requests of an RPC can ask to wait: they have such a field, and it is a Duration. */
export function takesWait({ fields }: DescMessage): boolean {
  return fields.some(
    ({ name, message }) => name === waitField && message?.typeName === DurationSchema.typeName,
  );
}

/**
 * The wait of the query, or else of `Prefer` (RFC 7240, section 4.3).
 *
 * @returns undefined when the request asks for none, and for a preference that cannot be used.
 * @throws StatusError `INVALID_WAIT` for a query that is repeated, or no length of time.
 */
export function askedWaitOf({ url = "/", headers }: HttpRequest): AskedWait | undefined {
  const query = url.indexOf("?");
  if (query !== -1) {
    const [value, second] = new URLSearchParams(url.slice(query)).getAll(waitField);
    if (second !== undefined) throw invalidWait();
    if (value !== undefined) return { wait: readDuration(value) };
  }
  return headers.prefer === undefined ? undefined : preferredWait(headers.prefer as string);
}

/** `30s`, `1.5s` as protobuf's JSON writes a Duration; `500ms`; `30`, which are seconds. */
const durationForm = /^(?:(\d{1,12})(?:\.(\d{1,9}))?s|(\d{1,15})ms|(\d{1,12}))$/;

/** The longest google.protobuf.Duration, in seconds: 10,000 years. */
const longest = 315_576_000_000;

function readDuration(text: string): Duration {
  const [, seconds, fraction = "", milliseconds, plain] = durationForm.exec(text) ?? [];
  const whole = seconds ?? plain ?? Math.floor(Number(milliseconds) / 1000);
  const nanos =
    milliseconds === undefined ? Number(fraction.padEnd(9, "0")) : (Number(milliseconds) % 1000) * 1_000_000;
  // NaN for what is no length of time.
  if (!(Number(whole) + nanos / 1e9 <= longest)) throw invalidWait();
  return { seconds: BigInt(whole), nanos };
}

/** The first of several is the one that counts (RFC 7240, section 2). */
function preferredWait(prefer: string): AskedWait | undefined {
  const [, value = ""] = parseList(prefer).find(([[name] = [""]]) => name === waitField)?.[0] ?? [];
  const preferred = Number(value);
  if (!/^\d{1,12}$/.test(value) || preferred > longest) return undefined;
  return { wait: { seconds: BigInt(preferred), nanos: 0 }, preferred };
}

/** Says that a preference was heeded, and as how many whole seconds (RFC 7240, section 3). @param maxWait in milliseconds. */
export function preferenceApplied(
  { preferred }: AskedWait,
  maxWait: number,
): Readonly<Record<string, string>> | undefined {
  if (preferred === undefined) return undefined;
  return { "Preference-Applied": `wait=${Math.min(preferred, Math.floor(maxWait / 1000))}` };
}
