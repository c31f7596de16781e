// A simulator: the real service, behind an Add Memory endpoint that is not.
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
  /** Of Add Memory and of the service's REST, as the SDK wants them: under one URL. */
  readonly port: number;
  /** Of the service itself, for gRPC. */
  readonly servicePort: number;
}

/** The service behind the demo. */
const serviceHost = "127.0.0.1";

/**
 * @param config of the service. Its address is the demo's, and the service takes a free one.
 * @param step how long a job is pending, and then processing, in milliseconds.
 * @param signal gives up the start; nothing is left behind.
 * @throws what startApp throws.
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
    createWorker(ledger, step, (err) => log.warn({ err }, "the demo could not work on a job")),
  );
  const addMemory = createAddMemory(async (reqId, insertion) => {
    const isNew = await ledger.create(reqId);
    if (isNew) worker.begin(reqId, insertion);
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

/** Lets the service answer. */
async function forward(request: IncomingMessage, response: ServerResponse, port: number): Promise<void> {
  const { method, url, headers } = request;
  const forwarded = requestHttp({ host: serviceHost, port, method, path: url, headers });
  const answered = once(forwarded, "response") as Promise<[IncomingMessage]>;
  await Promise.all([pipeline(request, forwarded), answered]);
  const [answer] = await answered;
  response.writeHead(answer.statusCode ?? 502, answer.headers);
  await pipeline(answer, response);
}
