import { CompiledQuery } from "kysely";
import { statusLifetime } from "../../status/status.ts";
import { type Proof, StaleReplica } from "../reads/reader.ts";
import type { Row } from "../reads/text-query.ts";

/** How far a primary had written, at the least, when it was asked. */
interface Sample {
  /** When the question left, by `performance.now()`: whoever had committed by then is in. */
  readonly at: number;
  readonly written: bigint;
  /** A promotion begins another one, and positions of different timelines say nothing about each other. */
  readonly timeline: number;
  /** When this very server was started, which no two servers share. */
  readonly startedAt: string;
  /** The primary's own clock, in milliseconds since 1970. */
  readonly clock: number;
  /** Which cluster, database and table it is. Replicas have the same. */
  readonly identity: string;
}

/** Knows whether what a replica answers is recent enough. Every answer has to prove it. */
export interface Freshness extends Proof {
  /** Takes what the primary answered to {@link positionQuery}, asked at `at`. */
  note(row: Row | undefined, at: number): void;
  /** Takes what a replica answered to {@link identityQuery}. @throws StaleReplica when it replicates something else. */
  recognize(row: Row | undefined): void;
  /** Whether a replica could prove anything now. */
  isProvable(): boolean;
  /** Whether a status of this age exists by the primary's clock: the replica's may be wrong. */
  isLive(createdAt: Date): boolean;
}

const epoch = (time: string) => `extract(epoch from ${time})`;
const identity = `concat_ws(' ', (pg_control_system()).system_identifier, current_database(),
  'memory_job'::regclass::oid)`;

/**
 * Asks a primary how far it is. A commit is visible there, and with `synchronous_commit = off` acknowledged, before it
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
 * control file tells the timeline; after a promotion it is late, by a checkpoint at the most.
 */
const evidenceQuery = CompiledQuery.raw(`
  select
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() end - '0/0'::pg_lsn,
    coalesce(
      (pg_stat_get_wal_receiver()).received_tli,
      greatest((pg_control_checkpoint()).timeline_id, (pg_control_recovery()).min_recovery_end_timeline)
    ),
    ${epoch("pg_postmaster_start_time()")}, current_setting('transaction_isolation')`);

/** Samples that are kept for a bound. */
const resolution = 16;

/** @param maxStaleness the bound, in milliseconds. */
export function createFreshness(maxStaleness: number): Freshness {
  /** The oldest first: those that are at most as old as the bound, all of the same server. */
  let samples: Sample[] = [];

  /** The sample that is easiest to reach. */
  function oldest(now: number): Sample | undefined {
    while (samples[0] !== undefined && now - samples[0].at > maxStaleness) samples.shift();
    return samples[0];
  }

  /** What a replica must have to be used now. */
  function required(now: number): Sample {
    const sample = oldest(now);
    if (sample !== undefined) return sample;
    throw new StaleReplica(`the primary did not say how far it is for ${maxStaleness} ms`);
  }

  return {
    query: evidenceQuery,
    note(row, at) {
      const sample = toSample(row, at);
      const last = samples.at(-1);
      if (last?.timeline !== sample.timeline || last.startedAt !== sample.startedAt) samples = [sample];
      else if (at - last.at >= maxStaleness / resolution) samples.push(sample);
    },
    check([evidence = [], ...rows]) {
      const [replayed, timeline, startedAt, isolation] = evidence;
      const sample = required(performance.now());
      if (isolation !== "read committed") {
        throw new StaleReplica("default_transaction_isolation is not read committed: it cannot be told");
      }
      if (typeof replayed !== "string") {
        // Behind a read-only port there may be the primary itself, which is never behind.
        if (startedAt === sample.startedAt) return rows;
        throw new StaleReplica("it is a primary, and not the one that DATABASE_URL leads to");
      }
      if (Number(timeline) !== sample.timeline) {
        throw new StaleReplica(`it is on timeline ${timeline}, and the primary on ${sample.timeline}`);
      }
      if (BigInt(replayed) < sample.written) {
        throw new StaleReplica(`it has not replayed what the primary had written ${maxStaleness} ms ago`);
      }
      return rows;
    },
    recognize(row) {
      const wanted = required(performance.now()).identity;
      if (row?.[0] !== wanted) throw new StaleReplica("it does not replicate the table of DATABASE_URL");
    },
    isProvable: () => oldest(performance.now()) !== undefined,
    isLive(createdAt) {
      const sample = samples.at(-1);
      if (sample === undefined) return false;
      return createdAt.getTime() + statusLifetime > sample.clock + (performance.now() - sample.at);
    },
  };
}

function toSample(row: Row | undefined, at: number): Sample {
  const [written, file, startedAt, clock, identity] = (row ?? []) as readonly string[];
  if (!written || !file || !startedAt || !clock || !identity) {
    throw new StaleReplica("the primary does not say how far it is");
  }
  return {
    at,
    written: BigInt(written),
    timeline: Number.parseInt(file.slice(0, 8), 16),
    startedAt,
    clock: Number(clock) * 1_000,
    identity,
  };
}
