/** How old jobs are when they begin to be waited for, and how long waiting for them is measured. */
export interface Age {
  readonly name: string;
  readonly age: number;
  readonly seconds: number;
}

/** Each lies within a part of a job's life for which one interval of the service's poller applies. */
export const ages: readonly [Age, ...Age[]] = [
  { name: "first minute", age: 0, seconds: 6 },
  { name: "1 to 10 minutes", age: 120, seconds: 8 },
  { name: "older", age: 1_200, seconds: 10 },
];

/** What is measured. Times in seconds. */
export const plan = {
  clients: 10_000,
  /** Over HTTP/2, for all clients together: 500 calls each. */
  connections: 20,
  /** How many different jobs the clients wait for. */
  distinct: [1_000, 10_000],
  /** How often a client that polls asks. */
  pollInterval: 2,
  /** After the last call has begun, until the service has collected what beginning took. */
  settle: 1.5,
  /** Before memory is read for the first time. */
  warmUp: { clients: 500 },
  changes: { rate: 50, count: 500 },
  polling: { warmUp: 3, seconds: 5 },
  lookups: { rates: [1_000, 5_000], rounds: 3, warmUp: 0.5, seconds: 3 },
} as const;

/** What is aimed at: ratios to polling, bytes, milliseconds. */
export const goals = {
  cpu: { 1000: 0.1, 10000: 1 } as Readonly<Record<number, number>>,
  bytes: { grpc: 20_000, rest: 10_000 },
  latency: { p50: 250, p99: 500 },
  lookupsP99: 1.2,
};
