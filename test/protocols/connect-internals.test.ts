import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Health } from "../../src/gen/health/v1/health_pb.ts";

/**
 * What src/protocols/connect relies on and Connect does not document. When one of these fails after an upgrade, the file in
 * src that its name gives has to follow.
 */

type Aborting = HandlerContext & { abort(reason?: unknown): void };

let server: Server;
/** What happened, in order. */
let events: unknown[];
let contexts: HandlerContext[];
/** The last response, and whether it takes no more. */
let response: ServerResponse;
let isFull: boolean;

beforeEach(async () => {
  events = [];
  contexts = [];
  isFull = false;
  const adapter = connectNodeAdapter({
    requestGate(context) {
      contexts.push(context);
      const { abort } = context as Aborting;
      (context as Aborting).abort = (reason) => {
        events.push(reason === undefined ? "abort" : ["abort", (reason as ConnectError).code]);
        abort(reason);
      };
    },
    routes(router) {
      router.rpc(Health.method.check, ({ service }) => {
        if (service === "fail") throw new ConnectError("as asked", Code.Aborted);
        return {};
      });
      router.rpc(Health.method.watch, async function* () {
        for (const name of ["first", "second"]) {
          await Promise.resolve();
          events.push(name);
          yield {};
        }
      });
    },
  });
  server = createServer((request: IncomingMessage, answer: ServerResponse) => {
    response = answer;
    for (const name of ["writeHead", "write", "addTrailers", "end"] as const) {
      const own = response[name].bind(response) as (...args: unknown[]) => unknown;
      Object.assign(response, {
        [name]: (...args: unknown[]) => {
          events.push(name);
          const result = own(...args);
          return name === "write" && isFull ? false : result;
        },
      });
    }
    const iterate = request[Symbol.asyncIterator].bind(request);
    request[Symbol.asyncIterator] = () => {
      events.push("iterate");
      return iterate();
    };
    adapter(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

afterEach(() => server.close());

async function ask(type: string, body: string | Uint8Array<ArrayBuffer>, method = "Check"): Promise<string> {
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/grpc.health.v1.Health/${method}`;
  const answer = await fetch(url, { method: "POST", headers: { "Content-Type": type }, body });
  return await answer.text();
}

test("HandlerContext.abort (rpc-call.ts): is called without a reason when a call ended well, before its answer is written", async () => {
  await ask("application/json", "{}");
  expect(events.indexOf("abort")).toBeGreaterThan(-1);
  expect(events.indexOf("abort")).toBeLessThan(events.indexOf("end"));
});

test("HandlerContext.abort (rpc-call.ts): is called with the error of a call before its answer is written", async () => {
  await ask("application/json", '{"service":"fail"}');
  expect(events).toContainEqual(["abort", Code.Aborted]);
  expect(events.indexOf("writeHead")).toBeGreaterThan(
    events.findIndex((event) => Array.isArray(event) && event[0] === "abort"),
  );
});

test('"parse binary: " (rpc-call.ts): the error of a message that cannot be decoded is INTERNAL and begins so', async () => {
  const answer = JSON.parse(await ask("application/proto", new Uint8Array([0x0a, 0x7f])));
  expect(answer).toMatchObject({ code: "internal", message: expect.stringMatching(/^parse binary: /) });
});

test("IncomingMessage[Symbol.asyncIterator] (receiving.ts): the adapter reads a request's body by it", async () => {
  await ask("application/json", "{}");
  expect(events).toContain("iterate");
});

test("writeHead, addTrailers, end (trailers-only.ts): a gRPC error without a message is written by these alone", async () => {
  const prefixed = new Uint8Array([0, 0, 0, 0, 6, 0x0a, 4, ...Buffer.from("fail")]);
  await ask("application/grpc", prefixed);
  const written = events.filter((event) => typeof event === "string" && /write|Trailers|end/.test(event));
  expect(written).toEqual(["writeHead", "addTrailers", "end"]);
});

test("drain, write (routes.ts): after a write that returned false, the adapter asks for a message at the event drain", async () => {
  isFull = true;
  const asked = ask("application/grpc-web+proto", new Uint8Array(5), "Watch");
  await expect.poll(() => events, { interval: 5 }).toContain("write");
  expect(events).not.toContain("second");
  isFull = false;
  response.emit("drain");
  await asked;
  expect(events).toContain("second");
});
