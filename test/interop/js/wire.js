/**
 * How the tests talk with a client: a JSON array of calls that begin at once, and a JSON value an answer, over standard
 * input and output.
 */
import process from "node:process";
import { createInterface } from "node:readline";

/**
 * Begins each call as it comes, and returns when standard input has ended and every call has its answer.
 *
 * @param {(reqId: string, signal: AbortSignal) => Promise<object>} ask
 */
export async function serve(ask) {
  const cancels = new Map();
  const running = [];
  for await (const line of createInterface({ input: process.stdin })) {
    for (const { id, reqId, cancel } of JSON.parse(line)) {
      if (cancel) {
        cancels.get(id).abort();
        continue;
      }
      const gone = new AbortController();
      cancels.set(id, gone);
      running.push(answer(id, ask(reqId, gone.signal)));
    }
  }
  await Promise.all(running);
}

async function answer(id, asking) {
  const told = await asking.catch((error) => ({ failed: `${error} ${error.cause ?? ""}` }));
  process.stdout.write(`${JSON.stringify({ id, ...told })}\n`);
}

/** What a client is told on its command line: `--name=value`. */
export function option(name) {
  const prefix = `--${name}=`;
  return process.argv.find((argument) => argument.startsWith(prefix))?.slice(prefix.length);
}
