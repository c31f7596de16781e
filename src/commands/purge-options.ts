import { InvalidArgumentError, Option } from "commander";
import { duration, limit } from "../config/kinds.ts";

const hour = 3_600_000;

/** In milliseconds. A status can be read for 24 hours: the contract's rule. */
const shortestAge = 24 * hour;

/** The function of the database takes no more. */
const largestBatch = 5_000;

/** `--older-than`, in milliseconds. */
export const olderThanOption = new Option("--older-than <duration>", "minimum age of what is deleted")
  .default(25 * hour, "25h")
  .argParser((text) => {
    const age = duration.read(text);
    if (age !== undefined && age >= shortestAge) return age;
    throw new InvalidArgumentError("It takes a duration with its unit, like 25h or 7d, from 24h to 24d.");
  });

/** `--batch`. */
export const batchOption = new Option("--batch <rows>", "maximum number of rows in a transaction")
  .default(largestBatch)
  .argParser((text) => {
    const rows = limit.read(text);
    if (rows !== undefined && rows <= largestBatch) return rows;
    throw new InvalidArgumentError(`It takes a whole number, 1 to ${largestBatch}.`);
  });
