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

/** Characters of a request target, and of a header's value. */
const targetText = fc.string({
  unit: fc.constantFrom(..."/?#%&=.-_~:@!$'()*+,;[]|^{}\"<>\\aZ09".split("")),
});
const headerValue = fc.string({ unit: fc.constantFrom(...'aZ09 ,;=:/()"\\\t*é'.split("")), maxLength: 50 });
const headerName = fc.constantFrom(
  ...["Accept", "Accept-Encoding", "Cookie", "If-None-Match", "Range", "X-Request-Id", "Forwarded", "Via"],
  ...["Grpc-Timeout", "Connect-Timeout-Ms", "Connect-Protocol-Version", "Origin", "Content-Type", "Te"],
);
const method = fc.constantFrom(
  ...["GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"],
);

const id = fc.constantFrom(knownId, unknownId);
const idText = fc.oneof(
  fc.record({ id, spell: fc.constantFrom("lower", "upper", "encoded", "truncated", "slash") }),
  targetText.map((other) => ({ other })),
  fc.uuid().map((other) => ({ other: `{${other}}` })),
);

function spell(of: typeof idText extends fc.Arbitrary<infer T> ? T : never): string {
  if ("other" in of) return of.other;
  const text = of.id;
  switch (of.spell) {
    case "upper":
      return text.toUpperCase();
    case "encoded":
      return text.replaceAll("-", "%2D");
    case "truncated":
      return text.slice(1);
    case "slash":
      return `${text}/`;
    default:
      return text;
  }
}

const request = fc.record({
  method,
  path: fc.oneof(
    { weight: 6, arbitrary: idText.map((text) => ({ text })) },
    {
      weight: 1,
      arbitrary: fc.constantFrom("/healthz", "/readyz", "/get_status", "/").map((fixed) => ({ fixed })),
    },
    { weight: 2, arbitrary: targetText.map((rest) => ({ fixed: `/${rest}` })) },
  ),
  query: fc.option(
    targetText.map((text) => `?${text}`),
    { nil: "" },
  ),
  headers: fc.array(fc.tuple(headerName, headerValue), { maxLength: 5 }),
  body: fc.option(fc.uint8Array({ maxLength: 100 }), { nil: undefined, freq: 6 }),
});

function toHttp1(input: typeof request extends fc.Arbitrary<infer T> ? T : never): Http1Request {
  const { path, query, body, ...rest } = input;
  const target = ("fixed" in path ? path.fixed : `/get_status/${spell(path.text)}`) + query;
  return { ...rest, target, ...(body !== undefined && { body }) };
}

/** The contract, independently of the service's code. @returns the status of the right answer, and its other marks. */
function expected({ method, target }: Http1Request) {
  const path = target.split("?", 1)[0] as string;
  const isRead = method === "GET" || method === "HEAD";
  if (path === "/healthz" || path === "/readyz") return { status: isRead ? 200 : 405 };
  if (path !== "/get_status" && !path.startsWith("/get_status/")) return { status: 404 };
  if (!isRead) return { status: 405 };
  const reqId = decode(path.slice("/get_status/".length));
  if (!isUuid(reqId)) {
    return { status: 400, reason: "INVALID_REQ_ID", body: badRequest };
  }
  if (reqId.toLowerCase() === knownId) return { status: 200, body: fuzzed.json };
  return { status: 500, reason: "STATUS_NOT_FOUND", body: technicalIssues };
}

function check(request: Http1Request, { status, headers, body }: Http1Response): void {
  const wanted = expected(request);
  const input = JSON.stringify(request);
  expect(status, input).toBe(wanted.status);
  if ("body" in wanted) {
    expect(headers["error-reason"], input).toBe(wanted.reason);
    expect(body.toString(), input).toBe(request.method === "HEAD" ? "" : wanted.body);
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

test("REST: any method, path, query, headers and body, in pipelines", async (context) => {
  await fuzzed.withstands(context, request, [200, 250], async (batch) => {
    const requests = batch.map(toHttp1);
    const responses = await pipeline(fuzzed.serving.port, requests);
    expect(responses.length).toBe(requests.length);
    for (const [index, request] of requests.entries()) check(request, responses[index] as Http1Response);
  });
});
