import type { JobState, JobStatus } from "../status.ts";

const order: readonly JobState[] = ["pending", "processing", "success", "failure"];

/** Whether a status is the last of its attempt. A failed request that is submitted again is another attempt. */
export function isFinal({ status }: JobStatus): boolean {
  return status === "success" || status === "failure";
}

/**
 * Whether a status says something new to a caller who knows another one. A replica that is behind says what was true before,
 * of the same attempt or of an earlier one. What is final is never old: success stays, and failure was read from the primary.
 *
 * @param known undefined: the caller knows none.
 */
export function isNews(status: JobStatus, known: JobStatus | undefined): boolean {
  if (known === undefined || isFinal(status)) return true;
  const later = status.createdAt.getTime() - known.createdAt.getTime();
  return later > 0 || (later === 0 && order.indexOf(status.status) > order.indexOf(known.status));
}
