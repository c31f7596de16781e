/**
 * `npm run bench:table-chain`: why nothing that lives long may be a Map or a Set that calls are added to and deleted from.
 *
 * V8 puts another table under a Map or a Set every few changes, and the old one refers to the new. Once an old table has
 * been promoted, each table after it survives until the next full collection, along with the entries it was left with.
 * node:http2 keeps a session's streams in such a Map, and our store once kept its statements in such a Set.
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

/** Collects often enough to promote what is there, as the time after a start does. */
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
