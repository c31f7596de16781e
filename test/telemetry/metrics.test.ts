import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { Histogram as PromHistogram, Registry } from "prom-client";
import { expect, test } from "vitest";
import { Histogram } from "../../src/telemetry/metrics/histogram.ts";
import { startTestApp } from "../support/app.ts";
import { createDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { metricValue } from "../support/metric.ts";
import { protocols } from "../support/protocols.ts";
import { insertJob } from "../support/rows.ts";

test("calls are counted by protocol, method and code, statements by their ids", async () => {
  await using database = await createDatabase();
  await using app = await startTestApp({ DATABASE_URL: database.url });
  const reqId = await insertJob(database.db);
  for (const protocol of protocols) {
    const client = protocol.open(app.url);
    for (const id of [reqId, randomUUID(), "malformed"]) await client.ask(id);
    client.close();
  }
  const response = await fetch(`${app.url}/metrics`);
  expect(response.headers.get("content-type")).toMatch(/^application\/openmetrics-text; version=1\.0\.0/);
  const text = await response.text();
  expect(text.endsWith("# EOF\n")).toBe(true);

  const names = { rest: /^REST/, connect: /^Connect/, "grpc-web": /^gRPC-Web/, grpc: /^gRPC,/ };
  for (const [system, name] of Object.entries(names)) {
    const count = protocols.filter((protocol) => name.test(protocol.name)).length;
    for (const code of ["OK", "NOT_FOUND", "INVALID_ARGUMENT"]) {
      const labels = {
        rpc_system_name: system,
        rpc_method: "gomemory.status.v1.StatusService/GetStatus",
        rpc_status_code: code,
      };
      expect(metricValue(text, "rpc_server_call_duration_seconds_count", labels)).toBe(count);
    }
  }
  expect(metricValue(text, "status_store_statement_ids_count")).toBe(2 * protocols.length);
  expect(metricValue(text, "status_store_statement_ids_sum")).toBe(2 * protocols.length);
  expect(metricValue(text, "status_store_statement_failures_total")).toBe(0);
  expect(metricValue(text, "db_client_connections_max")).toBe(10);
  expect(metricValue(text, "db_client_connections_open")).toBeGreaterThan(0);
  expect(metricValue(text, "build_info")).toBe(1);
});

test("a call is in flight until it is answered", async () => {
  await using database = await createDatabase();
  await using app = await startTestApp({ DATABASE_URL: database.url });
  const inFlight = async () => {
    const text = await (await fetch(`${app.url}/metrics`)).text();
    return metricValue(text, "rpc_server_calls_in_flight", { rpc_system_name: "rest" });
  };
  await using lock = await lockTable(database);
  const asking = fetch(`${app.url}/get_status/${randomUUID()}`);
  await lock.blocks(1);
  expect(await inFlight()).toBe(1);
  await lock[Symbol.asyncDispose]();
  await asking;
  expect(await inFlight()).toBe(0);
});

test("no caller can make up a label: unknown methods, paths and hosts are not recorded", async () => {
  await using database = await createDatabase();
  await using app = await startTestApp({ DATABASE_URL: database.url });
  const before = await (await fetch(`${app.url}/metrics`)).text();
  for (const path of ["/made-up", "/gomemory.status.v1.StatusService/MadeUp", "/get_status/made-up"]) {
    await fetch(app.url + path, { headers: { "X-Request-Id": "made-up" } });
  }
  const after = await (await fetch(`${app.url}/metrics`)).text();
  expect(after).not.toMatch(/made-?up/i);
  const series = (text: string) =>
    text.split("\n").filter((line) => line.startsWith("rpc_server_call_duration_seconds_count"));
  expect(series(after).slice(series(before).length)).toEqual([
    expect.stringContaining('rpc_method="/metrics",rpc_status_code="OK"} 1'),
    expect.stringContaining('rpc_method="_OTHER",rpc_status_code="UNIMPLEMENTED"} 2'),
    expect.stringContaining('StatusService/GetStatus",rpc_status_code="INVALID_ARGUMENT"} 1'),
  ]);
});

test("METRICS=off: nothing is counted, and there is no /metrics", async () => {
  await using database = await createDatabase();
  await using app = await startTestApp({ DATABASE_URL: database.url, METRICS: "off" });
  expect((await fetch(`${app.url}/metrics`)).status).toBe(404);
});

test("our histogram writes what prom-client's writes", async () => {
  const options = { name: "h", help: "h", buckets: [0.001, 0.01, 0.1, 1] };
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({ value: fc.double({ min: 0, max: 3, noNaN: true }), a: fc.constantFrom("x", "y") }),
      ),
      async (all) => {
        const [ours, theirs] = [new Registry(), new Registry()];
        const histogram = new Histogram(ours, options);
        const series = { x: histogram.series({ a: "x" }), y: histogram.series({ a: "y" }) };
        const reference = new PromHistogram({ ...options, labelNames: ["a"], registers: [theirs] });
        reference.zero({ a: "x" });
        reference.zero({ a: "y" });
        for (const { value, a } of [{ value: 0.01, a: "x" } as const, ...all]) {
          series[a].observe(value);
          reference.observe({ a }, value);
        }
        const lines = async (registry: Registry) =>
          (await registry.metrics())
            .replaceAll(/\{([^}]*)\}/g, (_, labels) => `{${labels.split(",").sort().join()}}`)
            .split("\n")
            .sort();
        expect(await lines(ours)).toEqual(await lines(theirs));
      },
    ),
    { numRuns: 200 },
  );
});
