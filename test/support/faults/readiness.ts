import { setTimeout as pause } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import { service } from "grpc-health-check";

const HealthClient = grpc.makeClientConstructor(service, "grpc.health.v1.Health");

/** Polls `/readyz` and `grpc.health.v1`. */
export interface ReadinessWatch extends AsyncDisposable {
  /** The time from `since` until both had reported a state, in milliseconds; undefined: they have not. */
  changedTo(ready: boolean, since: number): number | undefined;
}

/** Between two polls, in milliseconds. */
const interval = 25;

export function watchReadiness(url: string): ReadinessWatch {
  const client = new HealthClient(new URL(url).host, grpc.credentials.createInsecure());
  const sources = [
    async () => (await fetch(`${url}/readyz`)).status === 200,
    () =>
      new Promise<boolean>((resolve, reject) => {
        client.check?.({ service: "" }, (error: grpc.ServiceError | null, answer?: { status: string }) => {
          if (error) reject(error);
          else resolve(answer?.status === "SERVING");
        });
      }),
  ];
  let stopped = false;
  const reported = sources.map(() => [] as { at: number; ready: boolean }[]);
  const polling = sources.map(async (isReady, index) => {
    while (!stopped) {
      const ready = await isReady();
      reported[index]?.push({ at: performance.now(), ready });
      await pause(interval);
    }
  });

  return {
    changedTo(ready, since) {
      const times = reported.map(
        (answers) => answers.find((one) => one.at > since && one.ready === ready)?.at,
      );
      const last = Math.max(...times.map((at) => at ?? Number.POSITIVE_INFINITY));
      return Number.isFinite(last) ? Math.ceil(last - since) : undefined;
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      await Promise.all(polling);
      client.close();
    },
  };
}
