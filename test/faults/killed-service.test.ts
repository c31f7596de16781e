import { afterAll, beforeAll, expect, test } from "vitest";
import { type Rig, startRig } from "../support/faults/rig.ts";
import { watchOverGrpc } from "../support/waiting/grpc-ways.ts";
import { startJobWriter } from "../support/waiting/job-writer.ts";
import { eventsOverRest, waitOverRest } from "../support/waiting/rest-ways.ts";
import { startWaitingClients } from "../support/waiting/waiting-clients.ts";

let rig: Rig;

beforeAll(async () => {
  rig = await startRig({ tls: false });
});

afterAll(() => rig[Symbol.asyncDispose]());

/** 1,000 streams, and long polls beside them. */
const groups = (urls: readonly string[]) => [
  { way: watchOverGrpc(3), clients: 700, urls },
  { way: eventsOverRest(), clients: 300, urls },
  { way: waitOverRest(2_000), clients: 100, urls },
];

test("`kill -9` of the service in the middle of 1,000 watches: its clients go on at another instance, and miss nothing", {
  timeout: 60_000,
}, async () => {
  await using other = await rig.startService({});
  await using writer = await startJobWriter(rig.url, { jobs: 1_000, pace: 50 });
  const urls = [rig.service.url, other.url];
  await using clients = startWaitingClients({ writer, groups: groups(urls) });
  // Not all of them: some are at any moment between two calls.
  await expect.poll(() => clients.waiting, { timeout: 20_000 }).toBeGreaterThan(900);
  clients.takeTallies();

  rig.service.kill("SIGKILL");
  await rig.service.exit;
  await expect.poll(() => clients.waiting, { timeout: 20_000 }).toBeGreaterThan(900);
  await writer.finish();
  await clients.finish();

  for (const { way, delivered, wrong, ends, complaints } of clients.takeTallies()) {
    expect({ way, wrong, complaints }).toEqual({ way, wrong: 0, complaints: [] });
    expect(delivered, way).toBeGreaterThan(0);
    const { OK = 0, ...others } = ends;
    expect(OK, way).toBeGreaterThan(0);
    // Lost connections; and hundreds of clients come back at once, of which some may be asked to do so a little later.
    const allowed = /^(Error: |[A-Z]+: |the events end|OVERLOADED$|DATASTORE_UNAVAILABLE$)/;
    for (const as of Object.keys(others)) expect(as, way).toMatch(allowed);
  }
  other.kill("SIGTERM");
  expect(await other.exit).toMatchObject({ code: 0, stderr: "" });
});
