import type { PhaseResult } from "../../load/phase.ts";

/** Lookups in a window, with or without a purge that runs all the time. */
export interface RealTimeWindow {
  readonly round: number;
  readonly protocol: "rest" | "grpc";
  readonly result: PhaseResult;
  /** Jobs submitted a second. */
  readonly inserts: number;
  /** The share of the window, from 0 to 1, in which a vacuum of the table was at work. */
  readonly vacuum: number;
  /** Absent: nothing was deleted. */
  readonly purge?: PurgeWindow;
}

export interface PurgeWindow {
  /** Maximum number of rows in a batch. */
  readonly batch: number;
  readonly rows: number;
  readonly batches: number;
  /** Rows deleted a second, pauses included. */
  readonly rate: number;
  /** False: it found nothing more to delete before the window's end. */
  readonly isWhole: boolean;
}
