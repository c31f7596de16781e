import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** What a client was told: by RPC either a response or a `google.rpc.Status`, in their canonical JSON. */
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
  /** Over REST. */
  readonly rest?: {
    readonly status: number;
    /** Of HTTP, such as `HTTP/2`, where the client knows it. */
    readonly version?: string;
    /** The header `Error-Reason`. */
    readonly reason?: string;
    readonly body: string;
  };
  /** Over REST: why there is no answer, in the client's words. */
  readonly failed?: string;
}

/** A program that asks as it is told to. Disposing of it ends it, whatever it still waits for. */
export interface ClientProgram extends AsyncDisposable {
  ask(
    reqId: string,
    options?: { readonly timeoutMs?: number; readonly requestId?: string; readonly signal?: AbortSignal },
  ): Promise<ToldAnswer>;
  /** Begins calls at once. */
  askAll(reqIds: readonly string[]): Promise<ToldAnswer[]>;
}

/** Starts one of the programs beside this file: it takes a JSON array of calls a line, and gives a JSON value an answer. */
export function startClientProgram(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): ClientProgram {
  const child = spawn(program, args, {
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const talk = converse((calls) => child.stdin.write(`${JSON.stringify(calls)}\n`));
  createInterface({ input: child.stdout }).on("line", (line) => talk.answer(JSON.parse(line)));
  const ended = once(child, "close").then(([code]) => talk.end(`the client has ended with ${code}`));
  return {
    ...talk,
    async [Symbol.asyncDispose]() {
      if (talk.isWaiting()) child.kill();
      child.stdin.end();
      await ended;
    },
  };
}

/** Keeps which answer belongs to which call. @param send takes calls that are to begin at once, or one to cancel. */
export function converse(send: (calls: readonly object[]) => void) {
  const waiting = new Map<number, PromiseWithResolvers<ToldAnswer>>();
  let begun = 0;

  function expectAnswer(): { id: number; answer: Promise<ToldAnswer> } {
    const id = begun++;
    const answer = Promise.withResolvers<ToldAnswer>();
    waiting.set(id, answer);
    return { id, answer: answer.promise };
  }

  return {
    ask(reqId, { signal, ...options } = {}) {
      const { id, answer } = expectAnswer();
      signal?.addEventListener("abort", () => send([{ id, cancel: true }]));
      send([{ id, reqId, ...options }]);
      return answer;
    },
    askAll(reqIds) {
      const calls = reqIds.map((reqId) => ({ reqId, ...expectAnswer() }));
      send(calls.map(({ id, reqId }) => ({ id, reqId })));
      return Promise.all(calls.map(({ answer }) => answer));
    },
    answer({ id, ...answer }: ToldAnswer & { readonly id: number }): void {
      waiting.get(id)?.resolve(answer);
      waiting.delete(id);
    },
    isWaiting: () => waiting.size > 0,
    /** Nobody answers any more. */
    end(reason: string): void {
      for (const { reject } of waiting.values()) reject(new Error(reason));
    },
  } satisfies Omit<ClientProgram, typeof Symbol.asyncDispose> & Record<string, unknown>;
}
