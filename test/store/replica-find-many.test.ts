import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { datastoreUnavailable } from "../../src/status/errors.ts";
import type { StatusStore } from "../../src/status/status-store.ts";
import type { Database } from "../../src/store/database.ts";
import type { Replica } from "../../src/store/replica/replica.ts";
import { startProxy } from "../support/proxy.ts";
import { type Replicated, startReplicated } from "../support/replicated.ts";
import { callWithin, newReqId, wordsOf } from "../support/store.ts";

let replicated: Replicated;
/** Of each id: which of the two answered, and why the replica did not. */
let roles: string[];
let causes: string[];

beforeAll(async () => {
  replicated = await startReplicated();
});

afterAll(() => replicated[Symbol.asyncDispose]());

beforeEach(() => {
  roles = [];
  causes = [];
});

afterEach(() => replicated.standby.resume());

async function openServing(url = replicated.standby.url, as: Partial<Database> = {}): Promise<Replica> {
  const onRead = (role: string) => roles.push(role);
  const onReask = (cause: string) => causes.push(cause);
  const replica = replicated.openReplica(url, { onRead, onReask }, as);
  await expect.poll(() => replica.serving(), { interval: 5, timeout: 15_000 }).toBe(true);
  return replica;
}

/** A job that the replica has, and one that only the primary has. */
async function submitEach(replica: Replica) {
  const replayed = await replicated.submit();
  await expect
    .poll(
      async () => {
        roles = [];
        await replica.statuses.find(replayed, callWithin());
        return roles;
      },
      { interval: 5, timeout: 15_000 },
    )
    .toEqual(["replica"]);
  await replicated.standby.pause();
  const ofPrimary = await replicated.submit();
  roles = [];
  causes = [];
  return { replayed, ofPrimary };
}

test("each id is answered by the replica, or by the primary when the replica lacks it", async () => {
  await using replica = await openServing();
  const { replayed, ofPrimary } = await submitEach(replica);
  const unknown = newReqId();
  const reqIds = [ofPrimary, replayed, unknown, replayed];
  const outcomes = await replica.statuses.findMany(reqIds, callWithin());
  expect([...outcomes.keys()]).toEqual([ofPrimary, replayed, unknown]);
  expect(wordsOf(outcomes)).toEqual(["pending", "pending", "none"]);
  expect(roles).toEqual(["replica", "primary", "primary"]);
  expect(causes).toEqual(["missing", "missing"]);
});

test("while the primary is unavailable, what the replica has is answered, and what it lacks is DATASTORE_UNAVAILABLE", async () => {
  const error = datastoreUnavailable(new Error("the primary is unavailable"));
  const statuses: StatusStore = {
    find: () => Promise.reject(error),
    findMany: (reqIds) => Promise.resolve(new Map(reqIds.map((reqId) => [reqId, error]))),
    poll: (reqIds) => Promise.resolve(new Map(reqIds.map((reqId) => [reqId, error]))),
  };
  await using replica = await openServing(undefined, { statuses, isUnavailable: () => true });
  const { replayed, ofPrimary } = await submitEach(replica);
  const outcomes = await replica.statuses.findMany([ofPrimary, replayed], callWithin());
  expect(wordsOf(outcomes)).toEqual(["DATASTORE_UNAVAILABLE", "pending"]);
  expect(roles).toEqual(["replica"]);
});

test("a replica that does not answer in time costs no id", async () => {
  await using readOnly = await startProxy(replicated.standby.url);
  await using replica = await openServing(readOnly.url);
  const reqIds = [await replicated.submit(), await replicated.submit()];
  readOnly.disturb("stall");
  expect(wordsOf(await replica.statuses.findMany(reqIds, callWithin()))).toEqual(["pending", "pending"]);
  expect(roles).toEqual(["primary", "primary"]);
  expect(causes).toEqual(["slow", "slow"]);
  readOnly.disturb("none");
});

test("a call that is cancelled while the replica is asked rejects with its reason", async () => {
  await using readOnly = await startProxy(replicated.standby.url);
  await using replica = await openServing(readOnly.url);
  readOnly.disturb("stall");
  const call = callWithin();
  const many = replica.statuses.findMany([newReqId(), newReqId()], call);
  const reason = new Error("the caller has gone");
  call.cancel(reason);
  await expect(many).rejects.toBe(reason);
  expect(roles).toEqual([]);
  // The replica's timeout would be one, after which the primary would reject for the same reason.
  expect(causes).toEqual([]);
  readOnly.disturb("none");
});

test("one piece of work at a time is attached to the call", async () => {
  await using replica = await openServing();
  const call = callWithin();
  const [attach, detach] = [vi.spyOn(call, "attach"), vi.spyOn(call, "detach")];
  await replica.statuses.findMany(Array.from({ length: 100 }, newReqId), call);
  expect(attach).toHaveBeenCalledTimes(2);
  expect(detach.mock.calls).toEqual(attach.mock.calls);
  const [ofReplica, ofPrimary] = attach.mock.invocationCallOrder;
  expect(detach.mock.invocationCallOrder[0]).toBeGreaterThan(ofReplica as number);
  expect(detach.mock.invocationCallOrder[0]).toBeLessThan(ofPrimary as number);
});
