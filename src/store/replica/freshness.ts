import { CompiledQuery } from "kysely";
import { statusLifetime } from "../../status/status.ts";
import { type FreshnessCheck, StaleReplica } from "../reads/freshness-check.ts";
import type { Row } from "../reads/text-query.ts";

/** The position in its log that a primary had written at the least when it was asked. */
interface PrimaryPosition {
  /** When the query was sent, in milliseconds of `performance.now()`: what was committed by then is included. */
  readonly askedAt: number;
  readonly written: bigint;
  /** A promotion begins another timeline, and positions of different timelines cannot be compared. */
  readonly timeline: number;
  /** When this server was started, which no two servers share. */
  readonly startedAt: string;
  /** The primary's own clock, in milliseconds since 1970. */
  readonly clock: number;
  /** Which cluster, database and table it is. Replicas have the same. */
  readonly identity: string;
}

/** Knows whether what a replica answers is recent enough, which each answer is checked for. */
export interface Freshness extends FreshnessCheck {
  /** Records what the primary answered to {@link positionQuery}. @param askedAt when the query was sent. */
  record(row: Row | undefined, askedAt: number): void;
  /** Checks what a replica answered to {@link identityQuery}. @throws StaleReplica when it replicates something else. */
  checkIdentity(row: Row | undefined): void;
  /** Whether a position of the primary is known that is within the bound: without one, no answer passes the check. */
  isWithinBound(): boolean;
  /** Whether a status of this age exists by the primary's clock: the replica's may be wrong. */
  isLive(createdAt: Date): boolean;
}

const epoch = (time: string) => `extract(epoch from ${time})`;
const identity = `concat_ws(' ', (pg_control_system()).system_identifier, current_database(),
  'memory_job'::regclass::oid)`;

/**
 * Asks a primary for its position. A commit is visible there, and with `synchronous_commit = off` acknowledged, before it
 * is flushed, so what counts is what was inserted. Where nothing was inserted behind the header of a page (24 bytes,
 * or 40 where a file begins), a replica that has replayed everything stands before that header.
 */
export const positionQuery = CompiledQuery.raw(`
  with wal as materialized (
    select pg_current_wal_insert_lsn() as inserted, pg_current_wal_flush_lsn() as flushed
  )
  select
    case
      when inserted - flushed <= 40
        and mod(flushed - '0/0'::pg_lsn, current_setting('wal_block_size')::numeric) = 0 then flushed
      else inserted
    end - '0/0'::pg_lsn,
    pg_walfile_name(inserted), ${epoch("pg_postmaster_start_time()")}, ${epoch("clock_timestamp()")}, ${identity}
  from wal`);

/** Asks a replica what it replicates, and whether the table can be read there. */
export const identityQuery = CompiledQuery.raw(
  `select ${identity} where not exists (select from memory_job limit 0)`,
);

/**
 * Asked before each statement: a statement sees at least what was replayed before it began. The position comes before
 * the timeline, so that it is of that timeline or of one before. Without the right to see what is received, the
 * control file has the timeline; after a promotion it is late, by a checkpoint at the most.
 */
const replicaQuery = CompiledQuery.raw(`
  select
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() end - '0/0'::pg_lsn,
    coalesce(
      (pg_stat_get_wal_receiver()).received_tli,
      greatest((pg_control_checkpoint()).timeline_id, (pg_control_recovery()).min_recovery_end_timeline)
    ),
    ${epoch("pg_postmaster_start_time()")}, current_setting('transaction_isolation')`);

/** How many positions are kept for a bound. */
const positionsPerBound = 16;

/** @param maxStaleness the bound, in milliseconds. */
export function createFreshness(maxStaleness: number): Freshness {
  /** The oldest first: those that are at most as old as the bound, all of the same server. */
  let positions: PrimaryPosition[] = [];

  /** The position that is easiest to reach. */
  function oldest(now: number): PrimaryPosition | undefined {
    while (positions[0] !== undefined && now - positions[0].askedAt > maxStaleness) positions.shift();
    return positions[0];
  }

  /** @returns the position that a replica must have replayed now. */
  function required(now: number): PrimaryPosition {
    const position = oldest(now);
    if (position !== undefined) return position;
    throw new StaleReplica(`the primary has not reported its position for ${maxStaleness} ms`);
  }

  return {
    query: replicaQuery,
    record(row, askedAt) {
      const position = toPosition(row, askedAt);
      const last = positions.at(-1);
      if (last?.timeline !== position.timeline || last.startedAt !== position.startedAt)
        positions = [position];
      else if (askedAt - last.askedAt >= maxStaleness / positionsPerBound) positions.push(position);
    },
    check([replica = [], ...rows]) {
      const [replayed, timeline, startedAt, isolation] = replica;
      const position = required(performance.now());
      if (isolation !== "read committed") {
        throw new StaleReplica(
          "default_transaction_isolation is not read committed: its position cannot be checked",
        );
      }
      if (typeof replayed !== "string") {
        // Behind a read-only port there may be the primary itself, which is never behind.
        if (startedAt === position.startedAt) return rows;
        throw new StaleReplica("it is a primary, and not the one that DATABASE_URL leads to");
      }
      if (Number(timeline) !== position.timeline) {
        throw new StaleReplica(`it is on timeline ${timeline}, and the primary on ${position.timeline}`);
      }
      if (BigInt(replayed) < position.written) {
        throw new StaleReplica(`it has not replayed what the primary had written ${maxStaleness} ms ago`);
      }
      return rows;
    },
    checkIdentity(row) {
      const wanted = required(performance.now()).identity;
      if (row?.[0] !== wanted) throw new StaleReplica("it does not replicate the table of DATABASE_URL");
    },
    isWithinBound: () => oldest(performance.now()) !== undefined,
    isLive(createdAt) {
      const position = positions.at(-1);
      if (position === undefined) return false;
      return createdAt.getTime() + statusLifetime > position.clock + (performance.now() - position.askedAt);
    },
  };
}

function toPosition(row: Row | undefined, askedAt: number): PrimaryPosition {
  const [written, file, startedAt, clock, identity] = (row ?? []) as readonly string[];
  if (!written || !file || !startedAt || !clock || !identity) {
    throw new StaleReplica("the primary does not report its position");
  }
  return {
    askedAt,
    written: BigInt(written),
    timeline: Number.parseInt(file.slice(0, 8), 16),
    startedAt,
    clock: Number(clock) * 1_000,
    identity,
  };
}
