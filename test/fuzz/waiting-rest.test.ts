import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Fuzzed, knownId, startFuzzed, unknownId } from "./fuzzed.ts";
import { type Http1Request, type Http1Response, pipeline } from "./http1.ts";
import { badRequest, isUuid, technicalIssues } from "./rest-answers.ts";

let fuzzed: Fuzzed;

beforeAll(async () => {
  fuzzed = await startFuzzed();
});

afterAll(() => fuzzed[Symbol.asyncDispose]());

/** Lengths of time, and texts that are none. */
const waitValue = fc.oneof(
  fc.constantFrom(
    "0",
    "0s",
    "1s",
    "30",
    "500ms",
    "1.5s",
    "0.000000001s",
    "315576000000s",
    "99999999999999999999s",
  ),
  fc.constantFrom(
    "",
    "-1",
    "-1s",
    "1.5",
    "1m",
    "1h",
    "1e3",
    "+1s",
    "%31s",
    "1s ",
    "0x1",
    "Infinity",
    "٣s",
    "1..5s",
    "315576000001s",
  ),
  fc.string({ unit: fc.constantFrom(..."0123456789.sm-+e%&=; ".split("")), maxLength: 12 }),
);

const query = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: waitValue.map((value) => `wait=${value}`) },
      { weight: 1, arbitrary: fc.constantFrom("Wait=1s", "w%61it=1s", "wait", "other=1", "=", "wait[]=1s") },
    ),
    { maxLength: 3 },
  )
  .map((parts) => (parts.length === 0 ? "" : `?${parts.join("&").replaceAll(" ", "+")}`));

/** Lists as headers have them, from pieces that belong there and pieces that do not. */
function listOf(...pieces: readonly string[]) {
  const noise = fc.constantFrom(
    ",",
    ";",
    "=",
    '"',
    "\\",
    " ",
    "\t",
    "q=",
    "q=0",
    "q=1.5",
    ";q=0.001",
    "*",
    "é",
    '""',
  );
  return fc
    .array(fc.oneof(fc.constantFrom(...pieces), noise), { maxLength: 10 })
    .map((parts) => parts.join(""));
}

const header = fc.oneof(
  fc.tuple(
    fc.constant("Accept"),
    listOf(
      "text/event-stream",
      "TEXT/Event-Stream",
      "application/json",
      "*/*",
      "text/*",
      "text/event-streams",
    ),
  ),
  fc.tuple(
    fc.constant("Prefer"),
    listOf("wait=1", "wait=0", "WAIT = 2", "wait", 'wait="3"', "respond-async", "wait=-1"),
  ),
  fc.tuple(fc.constant("Last-Event-ID"), listOf("1772574255", "-", "failure", "success", "0")),
);

const request = fc.record({
  method: fc.constantFrom("GET", "GET", "GET", "HEAD"),
  reqId: fc.constantFrom(knownId, unknownId, "nope", knownId.toUpperCase()),
  query,
  headers: fc.array(header, { maxLength: 3 }),
});

/** Whether a query asks for a length of time, or for none. */
function isWaitValid(query: string): boolean {
  const [value, ...others] = new URLSearchParams(query).getAll("wait");
  if (value === undefined) return true;
  const [, seconds = "0"] = /^(\d{1,12})(?:\.\d{1,9})?s?$/.exec(value) ?? [];
  const isForm = /^(\d{1,12}(\.\d{1,9})?s|\d{1,15}ms|\d{1,12})$/.test(value);
  return others.length === 0 && isForm && isInRange(value, Number(seconds));
}

/** A google.protobuf.Duration has at most 315,576,000,000 seconds. */
function isInRange(value: string, seconds: number): boolean {
  return seconds < 315_576_000_000 || /^315576000000(\.0+)?s?$/.test(value);
}

test("REST: any wait, Prefer, Accept and Last-Event-ID", async (context) => {
  await fuzzed.withstands(context, request, [200, 100], async (batch) => {
    const requests = batch.map(
      ({ method, reqId, query, headers }): Http1Request => ({
        method,
        target: `/get_status/${reqId}${query}`,
        headers,
      }),
    );
    const responses = await pipeline(fuzzed.serving.port, requests);
    expect(responses.length).toBe(requests.length);
    for (const [index, input] of batch.entries()) {
      const response = responses[index] as Http1Response;
      const shown = `${JSON.stringify(input)} -> ${response.status} ${response.body}`;
      const isRefused = !isUuid(input.reqId) || !isWaitValid(input.query);
      const mayBeEvents = input.headers.some(
        ([name, value]) => name === "Accept" && /event-stream/i.test(value),
      );
      // Whoever asks for events does not wait.
      if (isRefused && !(mayBeEvents && isUuid(input.reqId))) checkRefusal(response, input, shown);
      else if (response.status === 400) checkRefusal(response, input, shown);
      else checkAnswer(response, input, mayBeEvents, shown);
    }
  });
});

type Input = typeof request extends fc.Arbitrary<infer T> ? T : never;

function checkRefusal(
  { status, headers, body }: Http1Response,
  { method, reqId, query }: Input,
  shown: string,
): void {
  expect(status, shown).toBe(400);
  const reasons = [
    ...(isUuid(reqId) ? [] : ["INVALID_REQ_ID"]),
    ...(isWaitValid(query) ? [] : ["INVALID_WAIT"]),
  ];
  expect(reasons, shown).toContain(headers["error-reason"]);
  expect(body.toString(), shown).toBe(method === "HEAD" ? "" : badRequest);
}

function checkAnswer(
  { status, headers, body }: Http1Response,
  { method, reqId }: Input,
  mayBeEvents: boolean,
  shown: string,
): void {
  expect(headers["cache-control"], shown).toContain("no-store");
  if (reqId.toLowerCase() === unknownId) {
    expect([status, headers["error-reason"]], shown).toEqual([500, "STATUS_NOT_FOUND"]);
    expect(body.toString(), shown).toBe(method === "HEAD" ? "" : technicalIssues);
    return;
  }
  if (mayBeEvents && status === 204) {
    expect(body.length, shown).toBe(0);
    return;
  }
  expect(status, shown).toBe(200);
  const isEvents = headers["content-type"] === "text/event-stream";
  if (isEvents) expect(mayBeEvents, shown).toBe(true);
  if (method === "HEAD") expect(body.length, shown).toBe(0);
  else if (isEvents) {
    expect(body.toString(), shown).toMatch(/^retry: \d{4}\n\nid: .*\nevent: status\ndata: /);
    expect(body.toString(), shown).toContain(
      `\ndata: ${fuzzed.json}\n\nevent: end\ndata: {"reason":"FINAL"}\n\n`,
    );
  } else expect(body.toString(), shown).toBe(fuzzed.json);
}
