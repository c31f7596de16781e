import type { Delivery } from "../support/faults/waiting.ts";

/** What a soak with faults has counted. */
export interface Counts {
  faults: number;
  restarts: number;
  calls: number;
  wrong: number;
  late: number;
  /** Calls that failed as documented while the database was broken. */
  failed: number;
  callsDuringRestarts: number;
  lost: number;
  /** Final statuses that clients were told that waited for them. */
  delivered: number;
  /** Events that were not written, too old, told twice or backwards, and streams that ended wrongly. */
  wrongWaits: number;
}

export function noCounts(): Counts {
  return {
    faults: 0,
    restarts: 0,
    calls: 0,
    wrong: 0,
    late: 0,
    failed: 0,
    callsDuringRestarts: 0,
    lost: 0,
    delivered: 0,
    wrongWaits: 0,
  };
}

/** Counts what clients that waited were told. @param mayEnd how their calls may end. */
export function noteWaits(
  during: string,
  { delivered, wrong, ends, complaints }: Pick<Delivery, "delivered" | "wrong" | "ends" | "complaints">,
  mayEnd: readonly string[],
  counts: Counts,
  failures: string[],
): void {
  counts.delivered += delivered;
  counts.wrongWaits += wrong;
  failures.push(...complaints.map((complaint) => `${during}: ${complaint}`));
  for (const [as, count] of Object.entries(ends)) {
    if (!mayEnd.includes(as)) failures.push(`${during}: ${count} calls that waited ended with ${as}`);
  }
}

/** @returns the counts for the reader. */
export function describeCounts(counts: Counts): string[] {
  const number = (value: number) => value.toLocaleString("en");
  return [
    `${counts.faults} faults, ${counts.restarts} graceful restarts`,
    `calls made: ${number(counts.calls)} (${number(counts.failed)} failed as documented while the database was broken, ${counts.late} late)`,
    `wrong answers: ${counts.wrong}`,
    `calls lost on graceful restart: ${counts.lost} of ${number(counts.callsDuringRestarts)}`,
    `clients that waited: told the end of ${number(counts.delivered)} jobs, ${counts.wrongWaits} times wrongly`,
  ];
}
