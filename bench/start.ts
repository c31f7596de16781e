import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Candidate } from "./candidates.ts";
import type { Table } from "./database.ts";
import { type Server, startServer } from "./server.ts";

/** How long a server took from its start until it was ready, in milliseconds. */
export interface Start {
  /** With a compile cache that an earlier start has filled, if the server uses one. */
  readonly readyAfter: number;
  /** With an empty compile cache. Undefined: the server uses none. */
  readonly coldReadyAfter: number | undefined;
}

export type StartedServer = Server & { readonly start: Start };

const compileCache = "NODE_COMPILE_CACHE=";

/**
 * Starts a server as {@link startServer} does. One whose command names a compile cache is started and ended once before, with
 * an empty cache of its own, which it fills for the second start.
 */
export async function startTimed(candidate: Candidate, table: Table, cpus: string): Promise<StartedServer> {
  if (!candidate.command.some((word) => word.startsWith(compileCache))) {
    return withStart(await startServer(candidate, table, cpus), undefined);
  }
  await using started = new AsyncDisposableStack();
  const folder = started.adopt(await mkdtemp(join(tmpdir(), "gomemory-status-bench-")), (path) =>
    rm(path, { recursive: true, force: true }),
  );
  const command = candidate.command.map((word) =>
    word.startsWith(compileCache) ? `${compileCache}${folder}` : word,
  );
  const cached = { ...candidate, command };
  const coldReadyAfter = await readyAfterColdStart(cached, table, cpus);
  const server = started.use(await startServer(cached, table, cpus));
  const running = started.move();
  return {
    ...withStart(server, coldReadyAfter),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function readyAfterColdStart(candidate: Candidate, table: Table, cpus: string): Promise<number> {
  await using server = await startServer(candidate, table, cpus);
  return server.readyAfter;
}

function withStart(server: Server, coldReadyAfter: number | undefined): StartedServer {
  return { ...server, start: { readyAfter: server.readyAfter, coldReadyAfter } };
}
