import { describe, expect, test } from "vitest";
import { lockTable } from "../support/lock.ts";
import { documentedJson, insertJob, insertPending } from "../support/rows.ts";
import type { ClientProgram } from "./client.ts";
import type { Services } from "./services.ts";
import { jobs } from "./told-answers.ts";

/** How a client can be told to ask over REST. */
export interface RestWay {
  readonly name: string;
  /** Of HTTP, by which the answers must come. Undefined when the client does not know it. */
  readonly version: string | undefined;
  readonly secure?: boolean;
  /** The most calls that the client begins at once without failing some by itself. Undefined: it has no such limit. */
  readonly atMost?: number;
  /**
   * Whether it resets the stream of a call that is cancelled. Over HTTP/1.1 a client closes its connection, which cannot
   * be told from one that only has no more to send: REQUEST_TIMEOUT ends the call.
   */
  readonly resetsCancelled?: boolean;
  /** Starts it for a service, at its origin. */
  readonly start: (url: string, certificate: string) => ClientProgram;
}

const badRequest = `{"Error":"Bad Request","Message":"Bad Request","Status":400}`;
const issues = "We are experiencing some techincal issues right now. Please try again after some time!";
const internal = JSON.stringify({ Error: issues, Message: issues, Status: 500 });

/** Of these, OkHttp lost some as long as an answer took one frame more than it needs. */
const [batchSize, batches] = [500, 8];

export function testRest(services: Services, ways: readonly RestWay[]): void {
  describe.for(ways)("$name", ({ version, secure, start, atMost = batchSize, resetsCancelled = false }) => {
    const open = () => {
      const { url } = secure ? services.secure : services.open;
      return start(url, services.certificate);
    };
    const told = (answer: object) => ({ rest: version === undefined ? answer : { ...answer, version } });

    test("all four statuses, a malformed and an unknown id", async () => {
      await using client = open();
      for (const job of jobs) {
        const reqId = await insertJob(services.database.db, job);
        const body = await documentedJson(services.database.db, reqId);
        expect(await client.ask(reqId)).toEqual(told({ status: 200, body }));
      }
      expect(await client.ask("a b")).toEqual(
        told({ status: 400, reason: "INVALID_REQ_ID", body: badRequest }),
      );
      expect(await client.ask(crypto.randomUUID())).toEqual(
        told({ status: 500, reason: "STATUS_NOT_FOUND", body: internal }),
      );
    });

    if (!secure)
      test("no database: 500, DATASTORE_UNAVAILABLE", async () => {
        await using client = start(services.lost.url, services.certificate);
        expect(await client.ask(crypto.randomUUID())).toEqual(
          told({ status: 500, reason: "DATASTORE_UNAVAILABLE", body: internal }),
        );
      });

    if (resetsCancelled)
      test("a call that is cancelled: the statement ends", async () => {
        await using client = open();
        await using lock = await lockTable(services.database);
        const gone = new AbortController();
        const asking = client.ask(crypto.randomUUID(), { signal: gone.signal });
        await lock.blocks(1);
        gone.abort();
        expect(await asking).toEqual({ failed: expect.any(String) });
        await lock.blocks(0);
      });

    test(`${atMost} calls at once, many times: none is lost`, async () => {
      await using client = open();
      const reqIds = await insertPending(services.database.db, atMost);
      // With no connection yet, clients may begin more streams on the first one than the service is about to allow.
      await client.ask(reqIds[0] as string);
      const lost: string[] = [];
      for (let batch = 0; batch < (batches * batchSize) / atMost; batch++) {
        const answers = await client.askAll(reqIds);
        const others = answers.filter(({ rest }) => rest?.status !== 200 || !rest.body.includes('"pending"'));
        if (others.length > 0)
          lost.push(`batch ${batch}: ${others.length} calls, ${JSON.stringify(others[0])}`);
      }
      expect(lost).toEqual([]);
    });
  });
}
