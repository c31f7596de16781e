import { describe, expect, test } from "vitest";
import { startTestApp } from "../support/app.ts";
import { startServing } from "../support/process.ts";
import { startProxy } from "../support/proxy.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import type { Browser } from "./browser.ts";
import type { Services } from "./services.ts";
import { move } from "./waiting.ts";

/** Tests a browser's EventSource, on another origin than the service. @param settings of a service that allows that origin. */
export function testEventSource(
  browser: Browser,
  services: Services,
  settings: Readonly<Record<string, string>>,
): void {
  /** The event of the status as it is. */
  async function status(reqId: string): Promise<object> {
    const data = await documentedJson(services.database.db, reqId);
    const { status, createdAt } = JSON.parse(data);
    return { type: "status", data, lastEventId: `${createdAt}/${status}` };
  }

  /** An event that leaves the id as it is. @param after the event before. */
  const event = (type: string, reason: string, after: object) => ({
    ...after,
    type,
    data: JSON.stringify({ reason }),
  });

  const [open, reconnecting, closed] = ["open", "reconnecting", "closed"].map((type) => ({ type }));

  describe("EventSource, REST", () => {
    test.for([
      { name: "HTTP/1.1", service: "open" },
      { name: "HTTP/2 over TLS", service: "secure" },
    ] as const)("$name: the states and the end; then it comes back, gets 204, and is closed for good", async ({
      service,
    }) => {
      const reqId = await insertJob(services.database.db);
      const { events, ended } = browser.client("events", services[service].url).watch([reqId]);
      const wanted: unknown[] = [open, await status(reqId)];
      await expect.poll(() => events).toEqual(wanted);
      await move(services.database, reqId, "success");
      const done = await status(reqId);
      wanted.push(done, event("end", "FINAL", done));
      await ended;
      expect(events).toEqual([...wanted, reconnecting, closed]);
    });

    test("an unknown and a malformed id: closed for good", async () => {
      for (const reqId of [crypto.randomUUID(), "x"]) {
        const { events, ended } = browser.client("events", services.open.url).watch([reqId]);
        await ended;
        expect(events).toEqual([closed]);
      }
    });

    test("no database: it is told so, and comes back", async () => {
      const cancelling = new AbortController();
      const client = browser.client("events", services.withoutDatabase.url);
      const { events, ended } = client.watch([crypto.randomUUID()], { signal: cancelling.signal });
      const unavailable = event("unavailable", "DATASTORE_UNAVAILABLE", { lastEventId: "" });
      const once = [open, unavailable, reconnecting];
      await expect.poll(() => events).toEqual([...once, ...once]);
      cancelling.abort();
      await ended;
    });

    test("the service restarts: it comes back by itself, and misses nothing", async () => {
      const env = { ...settings, DATABASE_URL: services.database.url, SHUTDOWN_TIMEOUT: "2s" };
      await using before = await startServing(env);
      await using balancer = await startProxy(before.url);
      const reqId = await insertJob(services.database.db);
      const { events, ended } = browser.client("events", new URL(balancer.url).origin).watch([reqId]);
      const pending = await status(reqId);
      await expect.poll(() => events).toEqual([open, pending]);

      await using after = await startServing(env);
      balancer.redirect(after.url);
      before.kill("SIGTERM");
      expect(await before.exit).toMatchObject({ code: 0 });
      await move(services.database, reqId, "success");
      const done = await status(reqId);
      await ended;
      expect(events).toEqual([
        ...[open, pending, event("end", "GOING_AWAY", pending), reconnecting],
        ...[open, done, event("end", "FINAL", done), reconnecting, closed],
      ]);
    });

    test("an origin that CORS_ORIGINS does not name: closed for good", async () => {
      await using app = await startTestApp({ DATABASE_URL: services.database.url });
      const reqId = await insertJob(services.database.db);
      const { events, ended } = browser.client("events", app.url).watch([reqId]);
      await ended;
      expect(events).toEqual([closed]);
    });
  });
}
