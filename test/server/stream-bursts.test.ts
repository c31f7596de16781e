import { channel } from "node:diagnostics_channel";
import { constants, type Http2Session } from "node:http2";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Bursts, watchBursts } from "../../src/server/http2/stream-bursts.ts";

const limit = 10;
const created = channel("http2.server.stream.created");
let bursts: Bursts;
let goaways: number[];
let session: Http2Session;

beforeEach(() => {
  bursts = watchBursts(limit);
  goaways = [];
  session = { goaway: (code: number) => void goaways.push(code), destroy() {} } as Http2Session;
  bursts.watch(session);
});

afterEach(() => bursts[Symbol.dispose]());

interface Begun {
  readonly session: Http2Session;
  rstCode: number;
  writableEnded: boolean;
}

/** Begins calls in this turn of the event loop, each of which ends before the next begins. */
function begin(count: number, end: (stream: Begun) => void = () => {}): void {
  for (let call = 0; call < count; call++) {
    const stream: Begun = { session, rstCode: constants.NGHTTP2_NO_ERROR, writableEnded: false };
    created.publish({ stream });
    end(stream);
  }
}

const answer = (stream: Begun) => {
  stream.writableEnded = true;
};

/** Node ends those streams, too. */
const cancel = (stream: Begun) => {
  stream.writableEnded = true;
  stream.rstCode = constants.NGHTTP2_CANCEL;
};

test("a client may begin a call for each that was answered in the same turn", () => {
  begin(5 * limit, answer);
  begin(limit);
  expect(goaways).toEqual([]);
});

test.for([
  { what: "are cancelled", end: cancel },
  { what: "wait", end: () => {} },
])("the first call beyond the limit, while others $what, ends the connection", ({ end }) => {
  begin(limit, answer);
  begin(limit, end);
  expect(goaways).toEqual([]);
  begin(1, end);
  expect(goaways).toEqual([constants.NGHTTP2_ENHANCE_YOUR_CALM]);
});

test("each turn of the event loop has a count of its own", async () => {
  for (let round = 0; round < 3; round++) {
    begin(limit, cancel);
    await turn();
  }
  expect(goaways).toEqual([]);
});

test("sessions of other servers in this process are not limited", () => {
  session = { goaway: (code: number) => void goaways.push(code), destroy() {} } as Http2Session;
  begin(2 * limit, cancel);
  expect(goaways).toEqual([]);
});
