import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { datastoreUnavailable } from "../../src/status/errors.ts";
import type { ReqId } from "../../src/status/req-id.ts";
import type { StatusStore } from "../../src/status/status-store.ts";
import type { Database } from "../../src/store/database.ts";
import { createJobLedger, type JobLedger } from "../../src/store/jobs/job-ledger.ts";
import type { Replica } from "../../src/store/replica/replica.ts";
import { startProxy } from "../support/proxy.ts";
import { type Replicated, startReplicated } from "../support/replicated.ts";
import { callWithin, newReqId, wordsOf } from "../support/store.ts";

let replicated: Replicated;
let ledger: JobLedger;
/** Of each id: which of the two answered, and why the replica did not. */
let roles: string[];
let causes: string[];

beforeAll(async () => {
  replicated = await startReplicated();
  ledger = createJobLedger(replicated.database.db);
});

afterAll(() => replicated[Symbol.asyncDispose]());

beforeEach(() => {
  roles = [];
  causes = [];
});

afterEach(() => replicated.standby.resume());

async function untilServing(replica: Replica, serving: boolean): Promise<void> {
  await expect.poll(() => replica.serving(), { interval: 5, timeout: 15_000 }).toBe(serving);
}

async function openServing(as: Partial<Database> = {}, url = replicated.standby.url): Promise<Replica> {
  const onRead = (role: string) => roles.push(role);
  const onReask = (cause: string) => causes.push(cause);
  const replica = replicated.openReplica(url, { onRead, onReask }, as);
  await untilServing(replica, true);
  return replica;
}

/** Has the standby replay what was written until now, and nothing more. */
async function replayUntilNow(replica: Replica): Promise<void> {
  const last = await replicated.submit();
  await expect
    .poll(
      async () => {
        roles = [];
        await replica.statuses.find(last, callWithin());
        return roles;
      },
      { interval: 5, timeout: 15_000 },
    )
    .toEqual(["replica"]);
  await replicated.standby.pause();
  roles = [];
  causes = [];
}

async function submitFailed(): Promise<ReqId> {
  const reqId = await replicated.submit();
  await ledger.fail(reqId, "it broke");
  return reqId;
}

/** A primary that answers nothing. @param asked called before. */
function unavailable(asked = async () => {}): StatusStore {
  const error = datastoreUnavailable(new Error("the primary is unavailable"));
  async function fail(reqIds: readonly ReqId[]) {
    await asked();
    return new Map(reqIds.map((reqId) => [reqId, error]));
  }
  return { find: () => Promise.reject(error), findMany: fail, poll: fail };
}

test("a replica answers what is no failure, with the age and the time since the update", async () => {
  await using replica = await openServing();
  const [pending, success] = [await replicated.submit(), await replicated.submit()];
  await ledger.succeed(success);
  await replayUntilNow(replica);
  const outcomes = await replica.statuses.poll([pending, success], callWithin());
  const ages = { age: expect.any(Number), sinceUpdate: expect.any(Number) };
  expect([...outcomes.values()]).toEqual([
    expect.objectContaining({ status: "pending", ...ages }),
    expect.objectContaining({ status: "success", ...ages }),
  ]);
  expect({ roles, causes }).toEqual({ roles: ["replica", "replica"], causes: [] });
});

test("each id that the replica lacks is answered by the primary, in the order of the ids", async () => {
  await using replica = await openServing();
  const replayed = await replicated.submit();
  await replayUntilNow(replica);
  const [ofPrimary, unknown] = [await replicated.submit(), newReqId()];
  const outcomes = await replica.statuses.poll([ofPrimary, replayed, unknown, replayed], callWithin());
  expect([...outcomes.keys()]).toEqual([ofPrimary, replayed, unknown]);
  expect(wordsOf(outcomes)).toEqual(["pending", "pending", "none"]);
  expect(roles).toEqual(["replica", "primary", "primary"]);
  expect(causes).toEqual(["missing", "missing"]);
});

test("a failure of a replica is the primary's status: of the next attempt, when it was submitted again", async () => {
  await using replica = await openServing();
  const [again, failed, other] = [await submitFailed(), await submitFailed(), await replicated.submit()];
  await replayUntilNow(replica);
  expect(await ledger.create(again)).toBe(true);
  const outcomes = await replica.statuses.poll([again, failed, other], callWithin());
  expect(wordsOf(outcomes)).toEqual(["pending", "failure", "pending"]);
  expect(outcomes.get(failed)).toMatchObject({ error: "it broke" });
  expect(roles).toEqual(["replica", "primary", "primary"]);
  expect(causes).toEqual(["failure", "failure"]);
  // It is bounded staleness for a call that does not wait.
  expect(await replica.statuses.find(again, callWithin())).toMatchObject({ status: "failure" });
});

test("while the primary is unavailable, a failure of a replica is DATASTORE_UNAVAILABLE", async () => {
  await using replica = await openServing({ statuses: unavailable(), isUnavailable: () => true });
  const [failed, pending] = [await submitFailed(), await replicated.submit()];
  await replayUntilNow(replica);
  const outcomes = await replica.statuses.poll([failed, pending], callWithin());
  expect(wordsOf(outcomes)).toEqual(["DATASTORE_UNAVAILABLE", "pending"]);
  expect({ roles, causes }).toEqual({ roles: ["replica"], causes: ["failure"] });
});

test("a replica that serves again in the middle of a call answers what is no failure", async () => {
  await using readOnly = await startProxy(replicated.standby.url);
  const asked = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  const statuses = unavailable(async () => {
    asked.resolve();
    await answered.promise;
  });
  await using replica = await openServing({ statuses, isUnavailable: () => true }, readOnly.url);
  const [failed, pending] = [await submitFailed(), await replicated.submit()];
  await replayUntilNow(replica);
  readOnly.cut();
  await untilServing(replica, false);
  const poll = replica.statuses.poll([failed, pending], callWithin());
  await asked.promise;
  await readOnly.mend();
  await untilServing(replica, true);
  answered.resolve();
  expect(wordsOf(await poll)).toEqual(["DATASTORE_UNAVAILABLE", "pending"]);
  expect({ roles, causes }).toEqual({ roles: ["replica"], causes: ["failure"] });
});
