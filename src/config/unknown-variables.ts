import type { Environment } from "./kinds.ts";
import { removedSettings, settings } from "./settings.ts";

/** Prefixes of settings: an unknown variable with one of them is probably a mistake. */
const prefixes = [
  "BATCH",
  "DATABASE_",
  "REPLICA_",
  "STATUS_",
  "LOG_",
  "REQUEST_",
  "SHUTDOWN_",
  "MIGRATE_",
  "PURGE_",
  "MAX_",
  "TLS_",
  "AUTH_",
];

/**
 * Finds variables that were probably meant to be settings: they have the prefix of a setting, or differ from the name of one
 * by a typing error. They are warned of and not refused, since Kubernetes, for one, sets variables with such prefixes.
 *
 * @returns a warning for each.
 */
export function unknownVariableWarnings(env: Environment): string[] {
  const known = Object.keys(settings);
  return Object.keys(env)
    .filter((name) => !known.includes(name) && !(name in removedSettings))
    .flatMap((name) => {
      const meant = known.find(
        (candidate) => candidate.length > 3 && isTypingErrorOf(name.toUpperCase(), candidate),
      );
      if (meant !== undefined) return [`${name} is not a setting: did you mean ${meant}?`];
      if (prefixes.some((prefix) => name.startsWith(prefix))) return [`${name} is not a setting: see --help`];
      return [];
    });
}

/** Whether the texts are equal, or one letter is added, missing, replaced, or swapped with its neighbour. */
function isTypingErrorOf(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false;
  let start = 0;
  while (start < a.length && a[start] === b[start]) start++;
  const restA = a.slice(start);
  const restB = b.slice(start);
  const swapped = `${restA[1] ?? ""}${restA[0] ?? ""}${restA.slice(2)}`;
  return (
    restA.slice(1) === restB.slice(1) ||
    restA.slice(1) === restB ||
    restA === restB.slice(1) ||
    swapped === restB
  );
}
