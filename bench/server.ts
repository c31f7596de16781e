import { freePort } from "../src/store/embedded.ts";
import type { Candidate } from "./candidates.ts";
import { checkCandidate } from "./check.ts";
import { type Child, startChild } from "./children.ts";
import type { BenchDatabase, Table } from "./database.ts";
import type { Phase } from "./load/phase.ts";
import { concurrency } from "./plan.ts";

/** A candidate that runs and keeps the contract. Disposing of it ends the program. */
export interface Server extends Pick<Child, "pid" | "failed">, AsyncDisposable {
  readonly port: number;
}

/**
 * Starts a candidate on a free port and asks it for every outcome of the contract.
 *
 * @param cpus as taskset writes them.
 * @throws Error at a wrong answer, or when the program ends.
 */
export async function startServer(candidate: Candidate, table: Table, cpus: string): Promise<Server> {
  const port = await freePort();
  await using started = new AsyncDisposableStack();
  const { pid, failed } = started.use(
    startChild(candidate.name, cpus, candidate.command, {
      cwd: candidate.cwd,
      env: {
        ...process.env,
        ...candidate.env,
        NODE_ENV: "production",
        HOST: "127.0.0.1",
        PORT: `${port}`,
        DATABASE_URL: table.url,
      },
    }),
  );
  await Promise.race([checkCandidate(candidate, port, table), failed]);
  const running = started.move();
  return { port, pid, failed, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** What every phase of load on this server has in common. */
export function phaseOf(
  { protocol, constant }: Candidate,
  { port, pid }: Server,
  table: Table,
  database: BenchDatabase,
): Omit<Phase, "warmUp" | "seconds"> {
  return {
    protocol,
    ...concurrency[protocol],
    port,
    rows: table.rows,
    seed: port,
    answers: constant ?? table.base,
    serverPid: pid,
    databasePid: database.pid,
  };
}
