/**
 * `npm run bench:table-chain`: why a long-lived Map or Set must not have calls added to it and deleted from it.
 *
 * V8 replaces the table of a Map or a Set every few changes, and the replaced table refers to its successor. Once one of
 * them has been promoted, all its successors survive until the next full collection, with the entries that they held.
 * node:http2 keeps a session's streams in such a Map.
 */
import { PerformanceObserver } from "node:perf_hooks";
import { setImmediate as turn } from "node:timers/promises";

const calls = 400_000;
const inFlight = 4;

interface Calls {
  add(call: object): void;
  delete(call: object): void;
}

const kinds: Readonly<Record<string, () => Calls>> = {
  "a Set": () => new Set(),
  "an array": () => {
    const all: object[] = [];
    return { add: (call) => void all.push(call), delete: (call) => void all.splice(all.indexOf(call), 1) };
  },
};

/** Causes enough collections to promote the live objects, as happens in a server soon after its start. */
function growOld(): void {
  for (let round = 0; round < 100_000; round++) new Array(128).fill(round);
}

for (const [name, create] of Object.entries(kinds)) {
  const pauses: number[] = [];
  const observer = new PerformanceObserver((list) =>
    pauses.push(...list.getEntries().map(({ duration }) => duration)),
  );
  observer.observe({ entryTypes: ["gc"] });
  const live = create();
  growOld();
  const begun: object[] = [];
  for (let call = 0; call < calls; call++) {
    const now = { payload: new Array(128).fill(call) };
    live.add(now);
    begun.push(now);
    if (begun.length > inFlight) live.delete(begun.shift() as object);
    if (call % 100 === 0) await turn();
  }
  await turn();
  observer.disconnect();
  const total = pauses.reduce((sum, pause) => sum + pause, 0);
  process.stdout.write(
    `${name}: ${pauses.length} collections took ${total.toFixed(0)} ms, the longest ${Math.max(...pauses).toFixed(1)} ms\n`,
  );
}
