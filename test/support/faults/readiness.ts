import { setTimeout as pause } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import { service } from "grpc-health-check";

const HealthClient = grpc.makeClientConstructor(service, "grpc.health.v1.Health");

/** Asks `/readyz` and `grpc.health.v1` all the time. */
export interface ReadinessWatch extends AsyncDisposable {
  /** When both said so for the first time since then, in milliseconds after it; undefined: never. */
  followed(ready: boolean, since: number): number | undefined;
}

const pace = 25;

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
  const said = sources.map(() => [] as { at: number; ready: boolean }[]);
  const asking = sources.map(async (ask, index) => {
    while (!stopped) {
      const ready = await ask();
      said[index]?.push({ at: performance.now(), ready });
      await pause(pace);
    }
  });

  return {
    followed(ready, since) {
      const times = said.map((answers) => answers.find((one) => one.at > since && one.ready === ready)?.at);
      const last = Math.max(...times.map((at) => at ?? Number.POSITIVE_INFINITY));
      return Number.isFinite(last) ? Math.ceil(last - since) : undefined;
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      await Promise.all(asking);
      client.close();
    },
  };
}
