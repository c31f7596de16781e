import { channel } from "node:diagnostics_channel";
import { constants, type Http2Session } from "node:http2";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Bursts, watchBursts } from "../../src/server/http2/stream-bursts.ts";

const most = 10;
const created = channel("http2.server.stream.created");
let bursts: Bursts;
let goaways: number[];
let session: Http2Session;

beforeEach(() => {
  bursts = watchBursts(most);
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

/** So many calls in this turn, each of which ends before the next begins. */
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
  begin(5 * most, answer);
  begin(most);
  expect(goaways).toEqual([]);
});

test.for([
  { what: "are cancelled", end: cancel },
  { what: "wait", end: () => {} },
])("the first call that is too many, while others $what, ends the connection", ({ end }) => {
  begin(most, answer);
  begin(most, end);
  expect(goaways).toEqual([]);
  begin(1, end);
  expect(goaways).toEqual([constants.NGHTTP2_ENHANCE_YOUR_CALM]);
});

test("each turn of the event loop counts anew", async () => {
  for (let round = 0; round < 3; round++) {
    begin(most, cancel);
    await turn();
  }
  expect(goaways).toEqual([]);
});

test("the sessions of others in this process are left alone", () => {
  session = { goaway: (code: number) => void goaways.push(code), destroy() {} } as Http2Session;
  begin(2 * most, cancel);
  expect(goaways).toEqual([]);
});
