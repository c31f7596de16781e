import { timestampMs } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { type Rig, startRig } from "../support/faults/rig.ts";

/** How many clients wait in each way, on one connection over gRPC. */
const clients = 50;

let rig: Rig;
let reqIds: readonly string[];

beforeAll(async () => {
  rig = await startRig({ tls: false, env: { MAX_WAIT: "2m" } });
  const rows = await rig.query<{ id: string }>(
    `insert into memory_job (req_id, status) select gen_random_uuid(), 'pending' from generate_series(1, ${3 * clients})
     returning req_id::text as id`,
  );
  reqIds = rows.map(({ id }) => id);
});

afterAll(() => rig[Symbol.asyncDispose]());

/** @returns the time of each heartbeat's last answer of the database, and the reason with which the stream ended. */
async function watch(reqId: string): Promise<{ answeredAt: number[]; reason: string | undefined }> {
  const client = createClient(StatusService, createGrpcTransport({ baseUrl: rig.service.url }));
  const answeredAt: number[] = [];
  try {
    for await (const { event } of client.watchStatus({ reqIds: [reqId] })) {
      if (event.case !== "heartbeat" || event.value.datastoreAnsweredAt === undefined) continue;
      answeredAt.push(timestampMs(event.value.datastoreAnsweredAt));
    }
    return { answeredAt, reason: "OK" };
  } catch (error) {
    return { answeredAt, reason: ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason };
  }
}

async function get(reqId: string, query = "", headers = {}): Promise<string> {
  return await (await fetch(`${rig.service.url}/get_status/${reqId}${query}`, { headers })).text();
}

test("a database that is away for longer than 30 seconds ends streams, which say so meanwhile, and no long poll", {
  timeout: 90_000,
}, async () => {
  const watches = reqIds.slice(0, clients).map(watch);
  const events = reqIds
    .slice(clients, 2 * clients)
    .map((reqId) => get(reqId, "", { Accept: "text/event-stream" }));
  const waits = reqIds.slice(2 * clients).map((reqId) => get(reqId, "?wait=100s"));
  const held = async () => {
    const metrics = await (await fetch(`${rig.service.url}/metrics`)).text();
    return Array.from(
      metrics.matchAll(/^rpc_server_held_calls\{kind="(?:wait|watch|events)"\} (\d+)$/gm),
      ([, count]) => Number(count),
    );
  };
  await expect.poll(held, { interval: 20 }).toEqual([clients, clients, clients]);
  // Each has been read once.
  await expect.poll(() => rig.metric("status_watched_ids"), { interval: 20 }).toBe(3 * clients);
  const cutAt = Date.now();
  rig.proxy.cut();

  for (const { answeredAt, reason } of await Promise.all(watches)) {
    expect(reason).toBe("DATASTORE_UNAVAILABLE");
    expect(answeredAt.length).toBeGreaterThan(0);
    // The last statement may have been answered while the connection was cut.
    for (const at of answeredAt) expect(at).toBeLessThan(cutAt + 1_000);
  }
  expect(Date.now() - cutAt).toBeGreaterThan(25_000);
  const unavailable = 'event: unavailable\ndata: {"reason":"DATASTORE_UNAVAILABLE"}\n\n';
  for (const text of await Promise.all(events)) {
    expect(text).toContain(`"status":"pending"`);
    expect(text).toContain("\n\n:\n\n");
    expect(text.endsWith(unavailable)).toBe(true);
  }
  expect(await held()).toEqual([clients, 0, 0]);

  await rig.query("update memory_job set status = 'success' where status = 'pending'");
  await rig.proxy.mend();
  for (const json of await Promise.all(waits)) expect(JSON.parse(json).status).toBe("success");
});
