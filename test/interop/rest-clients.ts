import { describe, expect, test } from "vitest";
import { lockTable } from "../support/lock.ts";
import { documentedJson, insertJob, insertPending } from "../support/rows.ts";
import type { ClientProgram } from "./client.ts";
import { jobs } from "./expected-answers.ts";
import type { Services } from "./services.ts";
import { move, untilWatched } from "./waiting.ts";

/** A client with one configuration of its HTTP connections. */
export interface RestClient {
  readonly name: string;
  /** The HTTP version of the answers. Undefined when the client does not know it. */
  readonly version: string | undefined;
  readonly secure?: boolean;
  /** The most concurrent calls that the client can make without failing some itself. Undefined: it has no such limit. */
  readonly atMost?: number;
  /**
   * Whether the client resets the stream of a cancelled call. Over HTTP/1.1 it closes the connection, which the service
   * cannot distinguish from a half-closed one: REQUEST_TIMEOUT ends the call.
   */
  readonly resetsCancelled?: boolean;
  /** Starts the client. @param url the service's origin. */
  readonly start: (url: string, certificate: string) => ClientProgram;
}

const badRequest = `{"Error":"Bad Request","Message":"Bad Request","Status":400}`;
const issues = "We are experiencing some techincal issues right now. Please try again after some time!";
const internal = JSON.stringify({ Error: issues, Message: issues, Status: 500 });

/** OkHttp lost some of as many calls while an answer took one frame more than it needs. */
const [batchSize, batches] = [500, 8];

export function testRest(services: Services, clients: readonly RestClient[]): void {
  describe.for(clients)("$name", ({
    version,
    secure,
    start,
    atMost = batchSize,
    resetsCancelled = false,
  }) => {
    const open = () => {
      const { url } = secure ? services.secure : services.open;
      return start(url, services.certificate);
    };
    const rest = (answer: object) => ({ rest: version === undefined ? answer : { ...answer, version } });

    test("all four statuses, a malformed and an unknown id", async () => {
      await using client = open();
      for (const job of jobs) {
        const reqId = await insertJob(services.database.db, job);
        const body = await documentedJson(services.database.db, reqId);
        expect(await client.call(reqId)).toEqual(rest({ status: 200, body }));
      }
      expect(await client.call("a b")).toEqual(
        rest({ status: 400, reason: "INVALID_REQ_ID", body: badRequest }),
      );
      expect(await client.call(crypto.randomUUID())).toEqual(
        rest({ status: 500, reason: "STATUS_NOT_FOUND", body: internal }),
      );
    });

    if (!secure)
      test("no database: 500, DATASTORE_UNAVAILABLE", async () => {
        await using client = start(services.withoutDatabase.url, services.certificate);
        expect(await client.call(crypto.randomUUID())).toEqual(
          rest({ status: 500, reason: "DATASTORE_UNAVAILABLE", body: internal }),
        );
      });

    if (!secure)
      test("?wait=: the answer comes when the job is done, or else when the wait is over", async () => {
        await using client = open();
        const reqId = await insertJob(services.database.db);
        const asOver = await documentedJson(services.database.db, reqId);
        expect(await client.call(`${reqId}?wait=300ms`)).toEqual(rest({ status: 200, body: asOver }));
        const waiting = client.call(`${reqId}?wait=30s`);
        await untilWatched(services.open.url, 1);
        await move(services.database, reqId, "success");
        const body = await documentedJson(services.database.db, reqId);
        expect(await waiting).toEqual(rest({ status: 200, body }));
      });

    if (resetsCancelled)
      test("a call that is cancelled: the statement ends", async () => {
        await using client = open();
        await using lock = await lockTable(services.database);
        const gone = new AbortController();
        const calling = client.call(crypto.randomUUID(), { signal: gone.signal });
        await lock.blocks(1);
        gone.abort();
        expect(await calling).toEqual({ failed: expect.any(String) });
        await lock.blocksCalls(0);
      });

    test(`${atMost} calls at once, many times: none is lost`, async () => {
      await using client = open();
      const reqIds = await insertPending(services.database.db, atMost);
      // On a new connection, clients may start more streams than the service allows before its SETTINGS have arrived.
      await client.call(reqIds[0] as string);
      const lost: string[] = [];
      for (let batch = 0; batch < (batches * batchSize) / atMost; batch++) {
        const answers = await client.callAll(reqIds);
        const others = answers.filter(({ rest }) => rest?.status !== 200 || !rest.body.includes('"pending"'));
        if (others.length > 0)
          lost.push(`batch ${batch}: ${others.length} calls, ${JSON.stringify(others[0])}`);
      }
      expect(lost).toEqual([]);
    });
  });
}
