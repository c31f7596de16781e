import { InvalidArgumentError, Option } from "commander";
import { defaultAge, largestBatch } from "../app/purge-bounds.ts";
import { duration, limit } from "../config/kinds.ts";
import { statusLifetime } from "../status/status.ts";

/** `--older-than`, in milliseconds. */
export const olderThanOption = new Option("--older-than <duration>", "minimum age of what is deleted")
  .default(defaultAge, "25h")
  .argParser((text) => {
    const age = duration.read(text);
    if (age !== undefined && age >= statusLifetime) return age;
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
