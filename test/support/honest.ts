import { expect, vi } from "vitest";
import { protocols } from "./protocols.ts";

/** Well-behaved clients of several protocols, each of which calls again as soon as its call is answered. */
export interface HonestCallers extends AsyncDisposable {
  /** Waits until each client has had more answers. @throws AssertionError when an answer since the last check was wrong. */
  check(): Promise<void>;
}

const asking = ["REST, HTTP/1.1", "Connect, HTTP/2, binary, POST", "gRPC, @grpc/grpc-js"];
const answersEach = 5;

/** @param json the documented answer for the id. */
export function startHonestCallers(url: string, reqId: string, json: string): HonestCallers {
  const clients = protocols.filter(({ name }) => asking.includes(name)).map((protocol) => protocol.open(url));
  const answered = clients.map(() => 0);
  const wrong: unknown[] = [];
  let isRunning = true;
  const loops = clients.map(async (client, index) => {
    while (isRunning) {
      const answer = await client.ask(reqId).catch((error: unknown) => error);
      if (answer instanceof Error || (answer as { json?: string }).json !== json) wrong.push(answer);
      (answered[index] as number)++;
    }
  });

  return {
    async check() {
      const before = [...answered];
      const enough = () => answered.every((count, index) => count >= (before[index] as number) + answersEach);
      await vi.waitUntil(enough, { timeout: 20_000, interval: 5 });
      expect(wrong.splice(0)).toEqual([]);
    },
    async [Symbol.asyncDispose]() {
      isRunning = false;
      await Promise.all(loops);
      for (const client of clients) client.close();
    },
  };
}
