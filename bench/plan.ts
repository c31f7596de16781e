/** The windows and rounds of a run. Times in seconds. */
export interface Plan {
  readonly quick: boolean;
  readonly rows: number;
  readonly rounds: number;
  readonly saturation: Window;
  /** The part loads at which latency is measured. */
  readonly loads: readonly Load[];
  /** One connection with one call at a time. */
  readonly serial: Window;
}

interface Window {
  readonly warmUp: number;
  readonly seconds: number;
}

/** Calls at random times, on average at a rate. */
export type Load = Window & (ShareOfPeak | FixedRate);

interface ShareOfPeak {
  /** A share of the server's own peak, which is measured just before. */
  readonly share: number;
}

interface FixedRate {
  /** Calls a second, the same for all servers. */
  readonly rate: number;
}

/** The number of connections, and of concurrent calls on each, at saturation and part load. */
export const concurrency = {
  rest: { connections: 64, streams: 1 },
  grpc: { connections: 8, streams: 16 },
} as const;

/** The share of its peak at which the tail of a server's latency, and the CPU of a call, are compared with the peak. */
const comparedShare = 0.3;

/** The rates at which the servers are compared, in calls a second: a busy and a quiet instance of a service. */
export const comparedRates = [5_000, 1_000] as const;

/** The index in a plan of the load at that share of the peak. */
export function shareIndex({ loads }: Plan): number {
  return loads.findIndex((load) => "share" in load && load.share === comparedShare);
}

/** The index in a plan of the load at a rate. */
export function rateIndex({ loads }: Plan, rate: number): number {
  return loads.findIndex((load) => "rate" in load && load.rate === rate);
}

export const defaultRows = 1_000_000;

/** How two checkouts are compared (`--against`). Times in seconds. */
export const comparison = {
  rounds: 7,
  /** Of each process, at saturation: V8 goes on compiling for at least five seconds. */
  warmUp: 5,
  saturation: { warmUp: 0.3, seconds: 1 },
  /**
   * Calls a second at part load. A share of the peak would differ from run to run, and a busy machine would lower it.
   * At three times this rate, p50 depends on the other programs that share a CPU with the generator and the database.
   */
  rate: 5_000,
  /** V8 recompiles at part load the code that it had optimized for saturation. */
  partWarmUp: 1.5,
  part: { warmUp: 0.3, seconds: 1.3 },
} as const;

export function makePlan(options: { quick: boolean; rows: number; rounds: number | undefined }): Plan {
  const { quick, rows } = options;
  return quick
    ? {
        quick,
        rows,
        rounds: options.rounds ?? 1,
        saturation: { warmUp: 2, seconds: 1.5 },
        loads: [
          { share: comparedShare, warmUp: 0.2, seconds: 0.6 },
          ...comparedRates.map((rate) => ({ rate, warmUp: 0.2, seconds: 0.6 })),
        ],
        serial: { warmUp: 0.1, seconds: 0.3 },
      }
    : {
        quick,
        rows,
        rounds: options.rounds ?? 5,
        saturation: { warmUp: 5, seconds: 2 },
        loads: [
          // V8 recompiles the code that it had optimized for saturation. And the window is long enough for events
          // that come every few seconds, such as a full collection.
          { share: comparedShare, warmUp: 1.5, seconds: 3 },
          ...comparedRates.map((rate) => ({ rate, warmUp: 0.5, seconds: 1.8 })),
        ],
        serial: { warmUp: 0.3, seconds: 0.7 },
      };
}
