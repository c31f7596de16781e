import { removedSettings, settings } from "./settings.ts";

/** Prefixes that are ours, so that an unknown variable under one of them is probably a mistake. */
const prefixes = [
  "BATCH",
  "DATABASE_",
  "REPLICA_",
  "STATUS_",
  "LOG_",
  "REQUEST_",
  "SHUTDOWN_",
  "MIGRATE_",
  "MAX_",
  "TLS_",
  "AUTH_",
];

/**
 * Points out variables that look as if they were meant for us: under one of our prefixes, or a slip of the
 * keyboard away from a name of ours. Only a hint: Kubernetes, for one, sets variables of its own.
 *
 * @returns one line each, none when all is well.
 */
export function suspectVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = Object.keys(settings);
  return Object.keys(env)
    .filter((name) => !known.includes(name) && !(name in removedSettings))
    .flatMap((name) => {
      const meant = known.find(
        (candidate) => candidate.length > 3 && isOneSlipAway(name.toUpperCase(), candidate),
      );
      if (meant !== undefined) return [`${name} is not a setting: did you mean ${meant}?`];
      if (prefixes.some((prefix) => name.startsWith(prefix))) return [`${name} is not a setting: see --help`];
      return [];
    });
}

/** Whether one letter more, less or other, or two swapped neighbours, or nothing but case, make the difference. */
function isOneSlipAway(a: string, b: string): boolean {
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
