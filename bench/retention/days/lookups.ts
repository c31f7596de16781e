import pg from "pg";
import { percentile } from "../../wait/report/report.ts";
import { probes } from "../plan.ts";

/** Looks up jobs by id, one after the other, on a connection of its own. */
export interface Lookups extends AsyncDisposable {
  /**
   * @param from the first of the jobs of which some are looked up, at random.
   * @param until the first that is not.
   * @throws Error when a job is not there.
   */
  measure(from: number, until: number): Promise<{ p50: number; p99: number }>;
}

const statement = {
  name: "look up",
  text: "select status, error, created_at from memory_job where req_id = md5($1::bigint::text)::uuid",
};

export async function openLookups(url: string): Promise<Lookups> {
  const client = new pg.Client(url);
  await client.connect();
  return {
    async measure(from, until) {
      const latencies: number[] = [];
      for (let probe = 0; probe < probes; probe++) {
        const job = from + Math.floor(Math.random() * (until - from));
        const begin = performance.now();
        const { rowCount } = await client.query({ ...statement, values: [job] });
        latencies.push(performance.now() - begin);
        if (rowCount !== 1) throw new Error(`job ${job} is not there, and is not old enough to be deleted`);
      }
      return { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) };
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}
