/** How much is measured. Numbers of rows are those of the jobs that are submitted in {@link keptHours}. */
export interface Plan {
  readonly isQuick: boolean;
  readonly rows: number;
  /** Of the smaller tables on which ways to delete are compared. */
  readonly comparedRows: number;
  readonly realTime: RealTimePlan;
}

/** Lookups while the table is written and purged. Times in seconds, rates a second. */
export interface RealTimePlan {
  readonly rounds: number;
  readonly warmUp: number;
  readonly seconds: number;
  /** Rows that are old enough to be deleted before the windows of a protocol in a round. */
  readonly expiredRows: number;
}

/** How old a job is when it is deleted. */
export const keptHours = 25;
/** The simulated days after these. */
export const days = 3;
export const simulatedHours = keptHours + 24 * days;

/** Of all jobs, one in so many fails, and is submitted again. */
export const failing = 5;

/** A step of the simulated days: purge runs once in each. */
export const stepsPerHour = 5;
/** Jobs are submitted and moved on in chunks. */
export const chunksPerHour = 50;

export const jobsPerHour = (rows: number): number => rows / keptHours;
export const jobsPerChunk = (rows: number): number => jobsPerHour(rows) / chunksPerHour;

/** Of each sample of the simulated days. */
export const probes = 1_000;

/** The same for each plan. Rates a second. */
export const realTime = {
  inserts: 2_000,
  lookups: 2_000,
  /** Rows of a batch: the default, and a small one, whose rows are locked and whose CPU is taken for a shorter time. */
  batches: [5_000, 500],
  /** Different rows that are looked up. */
  lookupRows: 360_000,
} as const;

/** What is aimed at. */
export const goals = {
  /** The largest size of the last day, of that of the day before. */
  growth: 1.05,
  /** Lookups' p99 during a purge, of that without. */
  p99: 1.2,
  /** Rows deleted a second, of those inserted. */
  rate: 1,
};

export function makePlan({ isQuick }: { readonly isQuick: boolean }): Plan {
  return isQuick
    ? {
        isQuick,
        rows: 1_000_000,
        comparedRows: 100_000,
        realTime: { rounds: 2, warmUp: 1, seconds: 3, expiredRows: 1_200_000 },
      }
    : {
        isQuick,
        rows: 10_000_000,
        comparedRows: 250_000,
        realTime: { rounds: 5, warmUp: 1, seconds: 5, expiredRows: 1_800_000 },
      };
}
