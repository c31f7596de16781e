import { lookup } from "node:dns/promises";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import { shuffled } from "../shuffled.ts";
import type { SessionAttrs, Target, Way } from "../url/target.ts";
import { isStoppingOrStarting } from "./connection-loss.ts";
import { isTerminatedOrTimeout } from "./pg-internals.ts";
import { WrongSession } from "./session-attrs.ts";

/** How to open a new connection. */
interface Attempt {
  readonly way: Way;
  readonly sessionAttrs: SessionAttrs;
}

/** Chooses among several hosts, and among the ways to connect to one, for each new connection. */
export interface Hosts {
  /** @throws the resolver's error when it knows none of the hosts. */
  next(): Promise<Attempt>;
  /** A connection could not be opened. @param encryptionFailed the same host may take one without TLS, or with. */
  failed(way: Way, error: unknown, encryptionFailed: boolean): void;
  succeeded(attempt: Attempt): void;
  /** Whether after this failure another way should be tried at once. */
  hasAnother(error: unknown): boolean;
  readonly size: number;
}

/** How long, in milliseconds, a host that could not be connected to is tried after the others. */
const avoidedFor = 10_000;

interface Failure {
  readonly at: number;
  /** It can be connected to, and is not as `target_session_attrs` wants it. */
  readonly isWrong: boolean;
}

/**
 * libpq tries the hosts in their order for each connection. So does this, but that hosts which have just failed come last:
 * a pool opens many connections, and an unreachable host may cost each of them the connect timeout.
 *
 * @param lookupTimeout the longest that the resolver may take, in milliseconds. Then the hosts that it has resolved are used.
 */
export function createHosts(target: Target, lookupTimeout: number): Hosts {
  const { sessionAttrs, random } = target;
  const failures = new Map<string, Failure>();
  const retriable = new WeakSet<object>();
  // Node tries all addresses of a name until it is connected, which is enough where any of them will do.
  const resolves = sessionAttrs !== "any" || random;
  let ways: readonly Way[] = target.ways;

  const isAvoided = (way: Way) => {
    const failure = failures.get(keyOf(way));
    return failure !== undefined && performance.now() - failure.at < avoidedFor;
  };
  const isWrongNow = (way: Way) => failures.get(keyOf(way))?.isWrong === true;

  return {
    async next() {
      if (resolves) ways = await resolve(target.ways, lookupTimeout);
      const candidates = random ? shuffled(ways) : ways;
      const fresh = candidates.find((way) => !isAvoided(way));
      if (fresh !== undefined) return { way: fresh, sessionAttrs };
      // None is as wanted: any that answers is used.
      const wrong = candidates.find(isWrongNow);
      if (sessionAttrs === "prefer-standby" && wrong !== undefined)
        return { way: wrong, sessionAttrs: "any" };
      const [first, ...others] = candidates as [Way, ...Way[]];
      const failedAt = (way: Way) => failures.get(keyOf(way))?.at ?? 0;
      const oldest = others.reduce((a, b) => (failedAt(b) < failedAt(a) ? b : a), first);
      return { way: oldest, sessionAttrs };
    },
    failed(way, error, encryptionFailed) {
      const siblings = ways.filter((other) => isSameHost(other, way));
      if (encryptionFailed) {
        failures.set(keyOf(way), { at: performance.now(), isWrong: false });
        if (siblings.some((other) => !isAvoided(other))) retriable.add(error as object);
        // As libpq: a host that refuses a password, or whose certificate is not trusted, is not passed over.
        else for (const sibling of siblings) failures.delete(keyOf(sibling));
        return;
      }
      if (!concernsHost(error)) return;
      const isWrong = error instanceof WrongSession;
      for (const sibling of siblings) failures.set(keyOf(sibling), { at: performance.now(), isWrong });
      const isLastResort = sessionAttrs === "prefer-standby" && ways.some(isWrongNow);
      if (ways.some((other) => !isAvoided(other)) || isLastResort) retriable.add(error as object);
    },
    succeeded(attempt) {
      // A host that is not as wanted, and is used for want of another, stays the last resort.
      if (attempt.sessionAttrs === sessionAttrs) failures.delete(keyOf(attempt.way));
    },
    hasAnother: (error) => retriable.has(error as Error),
    get size() {
      return ways.length;
    },
  };
}

/** @returns hosts of which there is one: the way that another connection has taken. */
export function onlyHost(way: Way): Hosts {
  return {
    next: () => Promise.resolve({ way, sessionAttrs: "any" }),
    failed() {},
    succeeded() {},
    hasAnother: () => false,
    size: 1,
  };
}

/** Whether another host may be better. */
function concernsHost(error: unknown): boolean {
  if (error instanceof WrongSession) return true;
  if (error instanceof pg.DatabaseError) return isStoppingOrStarting(error);
  const { syscall } = error as { syscall?: string };
  return syscall !== undefined || isTerminatedOrTimeout(error);
}

async function resolve(ways: readonly Way[], timeout: number): Promise<readonly Way[]> {
  let failure: unknown = new Error("the names of the hosts could not be resolved in time");
  const late = pause(timeout, [], { ref: false });
  const resolved = await Promise.all(
    ways.map(async (way) => {
      if (way.address.startsWith("/")) return [way];
      try {
        const addresses = await Promise.race([lookup(way.address, { all: true }), late]);
        return addresses.map(({ address }) => ({ ...way, address }));
      } catch (error) {
        failure = error;
        return [];
      }
    }),
  );
  if (resolved.every((list) => list.length === 0)) throw failure;
  return resolved.flat();
}

function keyOf({ address, port, encryption }: Way): string {
  return `${address} ${port} ${encryption}`;
}

function isSameHost(a: Way, b: Way): boolean {
  return a.address === b.address && a.port === b.port;
}
