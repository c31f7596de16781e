/**
 * The protocol of tests and client: lines with a JSON array of concurrent calls on standard input, and a line with a JSON
 * value for each answer on standard output.
 */
import process from "node:process";
import { createInterface } from "node:readline";

/**
 * Starts each call as it arrives, and returns when standard input has ended and every call has its answer.
 *
 * @param {(reqId: string, signal: AbortSignal) => Promise<object>} call
 */
export async function serve(call) {
  const cancels = new Map();
  const running = [];
  for await (const line of createInterface({ input: process.stdin })) {
    for (const { id, reqId, cancel } of JSON.parse(line)) {
      if (cancel) {
        cancels.get(id).abort();
        continue;
      }
      const cancelling = new AbortController();
      cancels.set(id, cancelling);
      running.push(report(id, call(reqId, cancelling.signal)));
    }
  }
  await Promise.all(running);
}

async function report(id, running) {
  const answer = await running.catch((error) => ({ failed: `${error} ${error.cause ?? ""}` }));
  process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
}

/** An option of the client's command line: `--name=value`. */
export function option(name) {
  const prefix = `--${name}=`;
  return process.argv.find((argument) => argument.startsWith(prefix))?.slice(prefix.length);
}
