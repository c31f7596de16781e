import type { Bench } from "../bench.ts";
import { grpcWatch, ways } from "../clients/ways/ways.ts";
import { ages, plan } from "../plan.ts";
import { describeFloor, describeLookups, describePolling, describeWay } from "../report/lines.ts";
import type { Measured } from "../report/report.ts";
import { type FloorResult, measureFloors } from "./floors.ts";
import { type LookupWindow, measureLookups } from "./lookups.ts";
import { measurePolling, type PollingResult } from "./polling.ts";
import { measureWay, type WayResult } from "./way.ts";

/**
 * Measures everything once.
 *
 * @param isWanted whether something of this name is to be measured.
 * @param log takes each result.
 */
export async function measureAll(
  bench: Bench,
  isWanted: (name: string) => boolean,
  log: (text: string) => void,
): Promise<Measured> {
  const floors: FloorResult[] = [];
  const polling: PollingResult[] = [];
  const results: WayResult[] = [];
  const lookups: LookupWindow[] = [];
  if (isWanted("floors")) {
    floors.push(...(await measureFloors(bench)));
    log(floors.map(describeFloor).join("\n"));
  }
  for (const distinct of plan.distinct) {
    // What is compared is measured one right after the other.
    for (const protocol of ["grpc", "rest"] as const) {
      if (isWanted("polling")) {
        const result = await measurePolling(bench, protocol, distinct);
        polling.push(result);
        log(describePolling(result));
      }
      for (const way of ways.filter((each) => each.protocol === protocol && isWanted(each.name))) {
        // What the poller does at each age does not depend on the way.
        const result = await measureWay(bench, way, distinct, way === grpcWatch ? ages : [ages[0]]);
        results.push(result);
        log(describeWay(result));
      }
    }
  }
  if (isWanted("lookups")) {
    lookups.push(...(await measureLookups(bench, grpcWatch)));
    log(lookups.map(describeLookups).join("\n"));
  }
  return { floors, polling, ways: results, lookups };
}
