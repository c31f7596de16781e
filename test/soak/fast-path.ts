import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { type Rig, startRig } from "../support/faults/rig.ts";
import { grpcCalls } from "../support/grpc-calls.ts";
import { exchange } from "../support/grpc-exchange.ts";
import type { SoakReport } from "./report.ts";

/** The calls of a round, after each of which the soak may end. */
const callsInRound = 200;

/**
 * Compares the gRPC fast path with Connect's adapter: makes randomized calls to two services on one database, one with
 * GRPC_FAST_PATH=on and one with off, until both differ in an answer.
 *
 * @param stop ends the soak after the current round.
 * @param seed of the first round. Each round after it has the next number, so that the seed of a failure reproduces it in
 *   the first round.
 */
export async function compareFastPath(stop: AbortSignal, seed: number): Promise<SoakReport> {
  await using started = new AsyncDisposableStack();
  const rig = started.use(await startRig({ tls: false, detached: true }));
  const adapter = started.use(await rig.startService({ GRPC_FAST_PATH: "off" }));
  const services = [rig.service, adapter];
  const reqIds = [await insertLongFailure(rig), ...rig.known.map(({ reqId }) => reqId)] as const;

  let calls = 0;
  let cancelled = 0;
  const failures: string[] = [];
  const property = fc.asyncProperty(grpcCalls(reqIds), async (call) => {
    const [one, other] = await Promise.all(services.map(({ port }) => exchange(port, call)));
    calls++;
    if (one === "cancelled") cancelled++;
    if (!isDeepStrictEqual(one, other)) {
      throw new Error(`fast path: ${JSON.stringify(one)}\nConnect's adapter: ${JSON.stringify(other)}`);
    }
  });
  for (let round = seed; !stop.aborted && failures.length === 0; round++) {
    const details = await fc.check(property, { seed: round, numRuns: callsInRound });
    if (details.failed) {
      const [call] = details.counterexample ?? [];
      failures.push(
        `seed ${round}, path ${details.counterexamplePath}: ${JSON.stringify(call)}\n${(details.errorInstance as Error).message}`,
      );
    }
  }
  for (const service of services) {
    service.kill("SIGTERM");
    const { code, stderr } = await service.exit;
    if (code !== 0 || stderr !== "") failures.push(`a service ended with ${code}: ${stderr}`);
  }
  return { failures, lines: [`calls compared: ${calls}, ${cancelled} of them cancelled by the client`] };
}

/** Inserts a job whose answer Connect's adapter compresses. @returns its id, in upper case. */
async function insertLongFailure(rig: Rig): Promise<string> {
  const [{ id } = { id: "" }] = await rig.query<{ id: string }>(
    `insert into memory_job (req_id, status, error)
     values (gen_random_uuid(), 'failure', 'it "broke" 🧠' || repeat('x', 2000)) returning upper(req_id::text) as id`,
  );
  return id;
}
