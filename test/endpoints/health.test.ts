import grpc from "@grpc/grpc-js";
import { service } from "grpc-health-check";
import { describe, expect, test } from "vitest";
import { health } from "../../src/endpoints/health.ts";
import { StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { createReadiness } from "../../src/status/readiness.ts";
import { serveEndpoints } from "../support/serve.ts";

const ours = StatusService.typeName;
const soon = () => ({ deadline: Date.now() + 10_000 });

// The client and its messages are those of npm's grpc-health-check, which shares no code with the server.
const HealthClient = grpc.makeClientConstructor(service, "grpc.health.v1.Health");

interface Answer {
  status: string;
}

/** A server whose datastore is up or down as the test sets it, and a client of it. */
async function start(up = true) {
  const store = { up };
  const readiness = createReadiness(
    () => (store.up ? Promise.resolve("ready" as const) : Promise.reject(new Error("connection refused"))),
    { interval: 0 },
  );
  const server = await serveEndpoints(health(readiness, [StatusService]), {
    shutdownTimeout: 10_000,
    maxMessageSize: 2 ** 20,
  });
  const { port } = server.address;
  const client = new HealthClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure());

  function unary<T>(method: "check" | "list", request: object): Promise<T> {
    return new Promise((resolve, reject) => {
      client[method]?.(request, soon(), (error: grpc.ServiceError | null, response: T) => {
        if (error) reject(error);
        else resolve(response);
      });
    });
  }

  return {
    readiness,
    /** Changes the datastore, and asks once, so that the watchers learn of it. */
    async set(next: boolean) {
      store.up = next;
      await readiness.ready();
    },
    check: (service?: string) => unary<Answer>("check", { service }),
    list: () => unary<{ statuses: Record<string, Answer> }>("list", {}),
    watch(service: string, options: grpc.CallOptions = soon()) {
      const call: grpc.ClientReadableStream<Answer> = client.watch?.({ service }, options);
      const answers = call[Symbol.asyncIterator]();
      return {
        next: async (): Promise<string> => {
          const { done, value } = await answers.next();
          return done ? "ended" : value.status;
        },
        status: new Promise<grpc.StatusObject>((resolve) => call.once("status", resolve)),
        cancel: () => call.cancel(),
      };
    },
    /** Sends GOAWAY and waits for every call, while the client holds on to its connection. */
    close: () => server[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      readiness.drain();
      client.close();
      await this.close();
    },
  };
}

describe("Check", () => {
  for (const service of [undefined, "", ours]) {
    test(`of ${JSON.stringify(service)} is SERVING when the instance is ready`, async () => {
      await using app = await start();
      expect(await app.check(service)).toEqual({ status: "SERVING" });
      await app.set(false);
      expect(await app.check(service)).toEqual({ status: "NOT_SERVING" });
      await app.set(true);
      app.readiness.drain();
      expect(await app.check(service)).toEqual({ status: "NOT_SERVING" });
    });
  }

  test("of an unknown service is NOT_FOUND and names those that are known", async () => {
    await using app = await start();
    await expect(app.check("acme.Nobody")).rejects.toMatchObject({
      code: grpc.status.NOT_FOUND,
      details: `unknown service "acme.Nobody" (want "" or "${ours}")`,
    });
  });

  test("of an overlong name is answered all the same", async () => {
    await using app = await start();
    await expect(app.check("x".repeat(200_000))).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  });
});

describe("List", () => {
  test("has the whole server and every service", async () => {
    await using app = await start();
    expect(await app.list()).toEqual({
      statuses: { "": { status: "SERVING" }, [ours]: { status: "SERVING" } },
    });
    await app.set(false);
    expect(await app.list()).toEqual({
      statuses: { "": { status: "NOT_SERVING" }, [ours]: { status: "NOT_SERVING" } },
    });
  });
});

describe("Watch", () => {
  for (const service of ["", ours]) {
    test(`of ${JSON.stringify(service)} sends the current status, then each change`, async () => {
      await using app = await start(false);
      const watch = app.watch(service);
      expect(await watch.next()).toBe("NOT_SERVING");
      await app.set(true);
      expect(await watch.next()).toBe("SERVING");
      await app.set(true);
      await app.set(false);
      expect(await watch.next()).toBe("NOT_SERVING");
    });
  }

  test("finds out about a change by itself", async () => {
    const datastore = { up: true };
    const readiness = createReadiness(
      () => (datastore.up ? Promise.resolve("ready" as const) : Promise.reject(new Error("down"))),
      { interval: 1 },
    );
    const states: boolean[] = [];
    for await (const ready of readiness.watch(AbortSignal.timeout(10_000))) {
      states.push(ready);
      datastore.up = !datastore.up;
      if (states.length === 3) break;
    }
    expect(states).toEqual([true, false, true]);
  });

  test("on drain sends NOT_SERVING, completes, and does not hold up the server's close", async () => {
    await using app = await start();
    const watches = [app.watch(""), app.watch(ours)];
    for (const watch of watches) expect(await watch.next()).toBe("SERVING");
    app.readiness.drain();
    const closed = app.close();
    for (const watch of watches) {
      expect(await watch.next()).toBe("NOT_SERVING");
      expect(await watch.next()).toBe("ended");
      expect(await watch.status).toMatchObject({ code: grpc.status.OK });
    }
    await closed;
  });

  test("of an unknown service sends SERVICE_UNKNOWN and stays open until drain", async () => {
    await using app = await start();
    const watch = app.watch("acme.Nobody");
    expect(await watch.next()).toBe("SERVICE_UNKNOWN");
    const next = watch.next();
    await app.set(false);
    await app.set(true);
    expect(await Promise.race([next, app.check().then(() => "open")])).toBe("open");
    app.readiness.drain();
    const closed = app.close();
    expect(await next).toBe("ended");
    expect(await watch.status).toMatchObject({ code: grpc.status.OK });
    await closed;
  });

  for (const service of ["", "acme.Nobody"]) {
    test(`of ${JSON.stringify(service)} ends with the caller's deadline`, async () => {
      await using app = await start();
      const watch = app.watch(service, { deadline: Date.now() + 100 });
      await watch.next();
      await expect(watch.next()).rejects.toMatchObject({ code: grpc.status.DEADLINE_EXCEEDED });
    });
  }

  test("a caller that goes is forgotten", async () => {
    await using app = await start();
    let left = Promise.resolve();
    const { readiness } = app;
    const watchReadiness = readiness.watch;
    readiness.watch = (signal) => {
      left = new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
      return watchReadiness(signal);
    };
    const watch = app.watch("");
    expect(await watch.next()).toBe("SERVING");
    watch.cancel();
    await expect(watch.next()).rejects.toMatchObject({ code: grpc.status.CANCELLED });
    await left;
  });
});
