import { statusLifetime } from "../status/status.ts";

/**
 * The default age, in milliseconds, at which a job is deleted: an hour more than its status can be read, so that no answer
 * depends on whether the row was purged. The default of memory_job_purge, too.
 */
export const defaultAge = statusLifetime + 3_600_000;

/** The largest batch, in rows, and the default: memory_job_purge takes no more. */
export const largestBatch = 5_000;
