// The real service behind a simulated Add Memory endpoint.
import { once } from "node:events";
import { createServer, type IncomingMessage, request as requestHttp, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { startApp } from "../src/app/app.ts";
import type { Config } from "../src/config/config.ts";
import { openConnections } from "../src/store/connections/connections.ts";
import { createJobLedger } from "../src/store/jobs/job-ledger.ts";
import type { Log } from "../src/telemetry/log.ts";
import { createAddMemory } from "./add-memory.ts";
import { createWorker } from "./worker.ts";

export interface Demo extends AsyncDisposable {
  /** The port of Add Memory and of the service's REST: the SDK takes one URL for both. */
  readonly port: number;
  /** The port of the service itself, for gRPC. */
  readonly servicePort: number;
}

/** The service listens only here: callers reach its REST through the demo. */
const serviceHost = "127.0.0.1";

/**
 * @param config the service's settings. The demo listens on its address, and the service on a free port.
 * @param step how long a job is pending, and then processing, in milliseconds.
 * @param signal cancels the start, which then leaves nothing behind.
 * @throws the errors of startApp.
 */
export async function startDemo(config: Config, log: Log, signal: AbortSignal, step: number): Promise<Demo> {
  await using started = new AsyncDisposableStack();
  const app = started.use(await startApp({ ...config, HOST: serviceHost, PORT: 0 }, log, signal));
  const connections = openConnections({
    url: app.embedded?.postgres.url ?? config.DATABASE_URL ?? "",
    size: 2,
    connectTimeout: config.DATABASE_CONNECT_TIMEOUT,
    onLost: (err) => log.warn({ err }, "the demo lost an idle connection to the database"),
  });
  const { db } = started.use(connections);

  const ledger = createJobLedger(db);
  const worker = started.use(
    createWorker(ledger, step, (err) => log.warn({ err }, "the demo could not process a job")),
  );
  const addMemory = createAddMemory(async (reqId, insertion) => {
    const isNew = await ledger.create(reqId);
    if (isNew) worker.start(reqId, insertion);
    return isNew;
  });

  const front = createServer((request, response) => {
    const isOurs = request.method === "POST" && request.url === "/add_memory";
    const answer = isOurs ? addMemory(request, response) : forward(request, response, app.port);
    answer.catch((err: unknown) => {
      log.warn({ err }, "the demo could not answer");
      response.destroy();
    });
  });
  front.listen(config.PORT, config.HOST);
  await once(front, "listening");
  started.defer(async () => {
    front.close();
    front.closeAllConnections();
    await once(front, "close");
  });

  signal.throwIfAborted();
  const running = started.move();
  return {
    port: (front.address() as AddressInfo).port,
    servicePort: app.port,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Passes a request on to the service. */
async function forward(request: IncomingMessage, response: ServerResponse, port: number): Promise<void> {
  const { method, url, headers } = request;
  const forwarded = requestHttp({ host: serviceHost, port, method, path: url, headers });
  const answered = once(forwarded, "response") as Promise<[IncomingMessage]>;
  await Promise.all([pipeline(request, forwarded), answered]);
  const [answer] = await answered;
  response.writeHead(answer.statusCode ?? 502, answer.headers);
  await pipeline(answer, response);
}
