import { expect, vi } from "vitest";
import { protocols } from "./protocols.ts";

/** Callers who ask all the while, one question after the other over each of some protocols. */
export interface HonestCallers extends AsyncDisposable {
  /** Lets each have some more answers. @throws AssertionError at an answer that is not right. */
  check(): Promise<void>;
}

const asking = ["REST, HTTP/1.1", "Connect, HTTP/2, binary, POST", "gRPC, @grpc/grpc-js"];
const answersEach = 5;

/** @param json the right answer about the id. */
export function startHonestCallers(url: string, reqId: string, json: string): HonestCallers {
  const clients = protocols.filter(({ name }) => asking.includes(name)).map((protocol) => protocol.open(url));
  const answered = clients.map(() => 0);
  const wrong: unknown[] = [];
  let going = true;
  const loops = clients.map(async (client, index) => {
    while (going) {
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
      going = false;
      await Promise.all(loops);
      for (const client of clients) client.close();
    },
  };
}
