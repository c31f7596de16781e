import { freePort } from "../src/store/embedded/embedded.ts";
import type { Candidate } from "./candidates.ts";
import { checkCandidate } from "./check.ts";
import { type Child, startChild } from "./children.ts";
import type { BenchDatabase, Table } from "./database.ts";
import type { Phase } from "./load/phase.ts";
import { cpuNumbers } from "./machine.ts";
import { concurrency } from "./plan.ts";

/** A running candidate, whose answers have been checked. Disposing of it ends the program. */
export interface Server extends Pick<Child, "pid" | "failed">, AsyncDisposable {
  readonly port: number;
  /** The time from the program's start until it was ready, in milliseconds. */
  readonly readyAfter: number;
}

/** The errors of Node and Go when another program took the port after it was found free. */
const portTaken = /EADDRINUSE|address already in use/;
const attempts = 5;

/**
 * Starts a candidate on a free port, waits until it is ready, and requests every outcome of the contract from it.
 *
 * @param cpus as taskset writes them.
 * @throws Error at a wrong answer, or when the program ends.
 */
export async function startServer(candidate: Candidate, table: Table, cpus: string): Promise<Server> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOn(await freePort(), candidate, table, cpus);
    } catch (error) {
      if (attempt === attempts || !portTaken.test((error as Error).message)) throw error;
    }
  }
}

async function startOn(port: number, candidate: Candidate, table: Table, cpus: string): Promise<Server> {
  await using started = new AsyncDisposableStack();
  const startedAt = performance.now();
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
        // Go's own default of late, said so that it is the same with every version.
        GOMAXPROCS: `${cpuNumbers(cpus).length}`,
      },
    }),
  );
  const checking = new AbortController();
  const readyAt = await Promise.race([
    checkCandidate(candidate, port, table, checking.signal),
    failed,
  ]).finally(() => checking.abort());
  const running = started.move();
  return {
    port,
    pid,
    failed,
    readyAfter: readyAt - startedAt,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The parameters that all phases of load on a server have in common. */
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
