import { expect, test } from "vitest";
import { StatusError } from "../../src/status/errors.ts";
import { Batch } from "../../src/store/reads/batch.ts";
import { callWithin, newReqId } from "../support/store.ts";

const second = 1_000_000;
const rowOf = (reqId: string) => [reqId, "pending", null, `${second}`, "1", "1"];

test.for([false, true])("a row that was not asked for fails the statement, polled: %s", async (isPolled) => {
  const batch = new Batch({ isPolled, maxIds: 10 });
  const reqId = newReqId();
  const answer = batch.add(reqId, callWithin());
  expect(() => batch.resolve([rowOf(newReqId())], [reqId])).toThrow("not asked for");
  batch.fail(new StatusError("DATASTORE_UNAVAILABLE", "it failed"));
  await expect(answer).rejects.toThrow("it failed");
});

test("a row for a call that has been cancelled since fails no other", async () => {
  const batch = new Batch({ isPolled: false, maxIds: 10 });
  const [cancelled, reqId] = [newReqId(), newReqId()];
  const call = callWithin();
  const rejected = expect(batch.add(cancelled, call)).rejects.toThrow("gone");
  const answer = batch.add(reqId, callWithin());
  call.cancel(new Error("gone"));
  await rejected;
  batch.resolve([rowOf(cancelled), rowOf(reqId)], [cancelled, reqId]);
  expect(await answer).toMatchObject({ status: "pending" });
});
