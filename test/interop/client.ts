import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** What a client was told: either a response or a `google.rpc.Status`, in their canonical JSON. */
interface ToldAnswer {
  readonly response?: object;
  readonly status?: {
    readonly code: number;
    readonly message?: string;
    readonly details?: readonly object[];
  };
  /** Of HTTP, where the client knows it. */
  readonly method?: string;
  /** The x-request-id that came along. */
  readonly requestId?: string;
}

/** A program that asks as it is told to. Disposing of it ends it, whatever it still waits for. */
export interface ClientProgram extends AsyncDisposable {
  ask(
    reqId: string,
    options?: { readonly timeoutMs?: number; readonly requestId?: string; readonly signal?: AbortSignal },
  ): Promise<ToldAnswer>;
}

/** Starts one of the programs beside this file: it takes a JSON value a call, and gives one an answer. */
export function startClientProgram(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): ClientProgram {
  const child = spawn(program, args, {
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const waiting = new Map<number, PromiseWithResolvers<ToldAnswer>>();
  let calls = 0;
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { id, ...answer } = JSON.parse(line);
    waiting.get(id)?.resolve(answer);
    waiting.delete(id);
  });
  const ended = once(child, "close").then(([code]) => {
    for (const { reject } of waiting.values()) reject(new Error(`the client has ended with ${code}`));
  });
  const send = (call: object) => child.stdin.write(`${JSON.stringify(call)}\n`);

  return {
    ask(reqId, { signal, ...options } = {}) {
      const id = calls++;
      const answer = Promise.withResolvers<ToldAnswer>();
      waiting.set(id, answer);
      signal?.addEventListener("abort", () => send({ id, cancel: true }));
      send({ id, reqId, ...options });
      return answer.promise;
    },
    async [Symbol.asyncDispose]() {
      if (waiting.size > 0) child.kill();
      child.stdin.end();
      await ended;
    },
  };
}
