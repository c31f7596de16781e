import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/**
 * The answer that a client reports. An RPC has either a response or a `google.rpc.Status`, in their canonical JSON; a stream
 * has the latter at its end, which is `{}` for OK.
 */
interface ClientAnswer {
  readonly response?: object;
  readonly status?: {
    readonly code: number;
    readonly message?: string;
    readonly details?: readonly object[];
  };
  /** HTTP's method, where the client knows it. */
  readonly method?: string;
  /** The x-request-id of the answer. */
  readonly requestId?: string;
  /** The answer over REST. */
  readonly rest?: {
    readonly status: number;
    /** HTTP's version, such as `HTTP/2`, where the client knows it. */
    readonly version?: string;
    /** The header `Error-Reason`. */
    readonly reason?: string;
    readonly body: string;
  };
  /** Over REST: the client's error, when there is no answer. */
  readonly failed?: string;
}

interface CallOptions {
  readonly timeoutMs?: number;
  readonly requestId?: string;
  readonly signal?: AbortSignal;
}

/** A stream: the events that have arrived, in their canonical JSON, and its end. */
interface ClientStream {
  readonly events: readonly object[];
  readonly ended: Promise<ClientAnswer>;
}

/** A program that makes calls with a client library. Disposing of it ends it, even while calls are running. */
export interface ClientProgram extends AsyncDisposable {
  /** @param options.waitMs the `wait` of the request, in milliseconds. */
  call(reqId: string, options?: CallOptions & { readonly waitMs?: number }): Promise<ClientAnswer>;
  /** Starts calls concurrently. */
  callAll(reqIds: readonly string[]): Promise<ClientAnswer[]>;
  /** Calls WatchStatus. */
  watch(reqIds: readonly string[], options?: CallOptions): ClientStream;
  /** Calls BatchGetStatus. */
  batch(reqIds: readonly string[]): Promise<ClientAnswer>;
}

/** Starts one of the programs in this folder: it reads a JSON array of calls from each line, and writes a line for each answer, and for each event of a stream. */
export function startClientProgram(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): ClientProgram {
  const child = spawn(program, args, {
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const conversation = converse((calls) => child.stdin.write(`${JSON.stringify(calls)}\n`));
  createInterface({ input: child.stdout }).on("line", (line) => conversation.answer(JSON.parse(line)));
  const ended = once(child, "close").then(([code]) => conversation.end(`the client has ended with ${code}`));
  return {
    ...conversation,
    async [Symbol.asyncDispose]() {
      if (conversation.isWaiting()) child.kill();
      child.stdin.end();
      await ended;
    },
  };
}

/** Matches answers with their calls. @param send takes calls to start concurrently, or one to cancel. */
export function converse(send: (calls: readonly object[]) => void) {
  const waiting = new Map<number, { answer: PromiseWithResolvers<ClientAnswer>; events: object[] }>();
  let calls = 0;

  function expectAnswer() {
    const id = calls++;
    const answer = Promise.withResolvers<ClientAnswer>();
    const events: object[] = [];
    waiting.set(id, { answer, events });
    return { id, answer: answer.promise, events };
  }

  function start(request: object, { signal, ...options }: CallOptions = {}) {
    const { id, answer, events } = expectAnswer();
    signal?.addEventListener("abort", () => send([{ id, cancel: true }]));
    send([{ id, ...request, ...options }]);
    return { answer, events };
  }

  return {
    call: (reqId, options) => start({ reqId }, options).answer,
    callAll(reqIds) {
      const calls = reqIds.map((reqId) => ({ reqId, ...expectAnswer() }));
      send(calls.map(({ id, reqId }) => ({ id, reqId })));
      return Promise.all(calls.map(({ answer }) => answer));
    },
    watch(reqIds, options) {
      const { events, answer } = start({ method: "WatchStatus", reqIds }, options);
      return { events, ended: answer };
    },
    batch: (reqIds) => start({ method: "BatchGetStatus", reqIds }).answer,
    answer({ id, event, ...answer }: ClientAnswer & { readonly id: number; readonly event?: object }): void {
      const call = waiting.get(id);
      if (event !== undefined) {
        call?.events.push(event);
        return;
      }
      call?.answer.resolve(answer);
      waiting.delete(id);
    },
    isWaiting: () => waiting.size > 0,
    /** Fails all calls without an answer. */
    end(reason: string): void {
      for (const { answer } of waiting.values()) answer.reject(new Error(reason));
    },
  } satisfies Omit<ClientProgram, typeof Symbol.asyncDispose> & Record<string, unknown>;
}
