import { setTimeout as pause } from "node:timers/promises";
import type { Disturbance } from "../proxy.ts";
import type { Rig } from "./rig.ts";

/** One way in which a database breaks. */
export interface Fault {
  readonly name: string;
  /** No read succeeds while it lasts: the breaker must open, and the service must report that it is not ready. */
  readonly outage?: true;
  /** It loses prepared statements: no call fails for it, and the service has logged that it did. */
  readonly losesPrepared?: true;
  /** Its duration in milliseconds, if it differs from the others'. */
  readonly lasts?: number;
  /** Notes what the fault must not change. @returns a function that names what it has changed. */
  readonly keeps?: (rig: Rig) => Promise<() => Promise<readonly string[]>>;
  /** @returns a function that ends the fault. */
  inject(rig: Rig): Promise<() => Promise<unknown>>;
}

const terminateAll = "select pg_terminate_backend(pid, 1000) from pg_stat_activity where usename = 'service'";

// The reads wait for a lock when they are cancelled: otherwise each would be over before.
const cancelAll = `
  begin;
  lock table memory_job in access exclusive mode;
  select pg_sleep(0.03);
  select pg_cancel_backend(pid) from pg_stat_activity where usename = 'service' and state = 'active';
  commit`;

/** Faults of a connection without TLS. */
export const faults: readonly Fault[] = [
  {
    name: "`pg_terminate_backend` of all, five times a second",
    inject: repeated(200, (rig) => rig.query(terminateAll)),
  },
  {
    name: "`pg_cancel_backend` of all running statements, ten times a second",
    inject: repeated(100, (rig) => rig.query(cancelAll)),
  },
  {
    name: "`kill -9` of a backend, once a second",
    inject: repeated(1_000, async (rig) => signal([(await rig.backends())[0]], "SIGKILL")),
  },
  {
    name: "`kill -9` of the postmaster",
    outage: true,
    inject(rig) {
      signal([rig.pid()], "SIGKILL");
      return Promise.resolve(rig.restart);
    },
  },
  {
    name: "restart in place",
    lasts: 0,
    async inject(rig) {
      await rig.restart();
      return () => Promise.resolve();
    },
  },
  { name: "SIGSTOP of one backend", inject: stopped(async (rig) => (await rig.backends()).slice(0, 1)) },
  { name: "SIGSTOP of all backends", inject: stopped((rig) => rig.backends()) },
  { name: "SIGSTOP of the postmaster", inject: stopped((rig) => Promise.resolve([rig.pid()])) },
  { name: "SIGSTOP of everything", outage: true, inject: stopped((rig) => rig.processes()) },
  { name: "network stalls", outage: true, inject: disturbed("stall") },
  { name: "network resets connections", outage: true, inject: disturbed("reset") },
  { name: "network closes connections", outage: true, inject: disturbed("close") },
  {
    name: "network refuses connections",
    outage: true,
    inject({ proxy }) {
      proxy.cut();
      return Promise.resolve(proxy.mend);
    },
  },
  { name: "network delays by 50 ms each way", inject: disturbed({ delay: 50 }) },
  {
    name: "network corrupts the framing of every fourth packet",
    inject: disturbed({ corrupt: corruptFraming }),
  },
  {
    name: "slow queries",
    inject: changed(
      [
        `alter table memory_job rename to slow_job;
         create view memory_job as select slow_job.* from slow_job, pg_sleep(30)`,
      ],
      "drop view memory_job; alter table slow_job rename to memory_job",
    ),
  },
  {
    name: "no connection left for the service",
    outage: true,
    inject: changed(
      ["alter role service connection limit 0", terminateAll],
      "alter role service connection limit -1",
    ),
  },
  {
    name: "table locked (`ACCESS EXCLUSIVE`)",
    outage: true,
    async inject(rig) {
      const holder = await rig.session();
      await holder.query("begin; lock table memory_job in access exclusive mode");
      return () => holder.end();
    },
  },
  {
    name: "schema mismatch (no such table)",
    inject: changed(
      ["alter table memory_job rename to other_job"],
      "alter table other_job rename to memory_job",
    ),
  },
  {
    name: "schema mismatch (no such column)",
    inject: changed(
      ["alter table memory_job rename error to reason"],
      "alter table memory_job rename reason to error",
    ),
  },
  {
    name: "wrong password",
    outage: true,
    inject: changed(
      ["alter role service password 'another'", terminateAll],
      "alter role service password 'of-the-service'",
    ),
  },
  {
    name: "DNS fails",
    outage: true,
    async inject(rig) {
      await rig.failDns(true);
      await rig.query(terminateAll);
      return () => rig.failDns(false);
    },
  },
  // The last one: after it, statements are not prepared for a minute.
  deallocated("`DEALLOCATE ALL` before every statement"),
];

// The columns of a statement that is prepared already are others then: "cached plan must not change result type".
const changeType = `
  alter table memory_job alter status type varchar;
  alter table memory_job alter status type text`;

const renameForAMoment = `
  alter table memory_job rename to other_job;
  select pg_sleep(0.02);
  alter table other_job rename to memory_job`;

// Longer than the deadline of half of the callers, whose statements are then cancelled while they wait to be prepared.
const lockForAMoment = `
  begin;
  lock table memory_job in access exclusive mode;
  select pg_sleep(0.7);
  commit`;

/** Faults of statements that are prepared whatever happens (`PREPARED_STATEMENTS=on`). */
export const preparedFaults: readonly Fault[] = [
  deallocated("prepared: `DEALLOCATE ALL` before every statement"),
  {
    name: "prepared: the type of a column changes, ten times a second",
    losesPrepared: true,
    inject: repeatedly(100, (rig) => runEach(rig, changeType)),
  },
  {
    name: "prepared: no such table for a moment, ten times a second",
    inject: repeatedly(100, (rig) => runEach(rig, renameForAMoment)),
  },
  {
    name: "prepared: table locked (`ACCESS EXCLUSIVE`) for 0.7 s of each second",
    inject: repeatedly(300, (rig) => rig.query(lockForAMoment)),
  },
];

function deallocated(name: string): Fault {
  return { name, losesPrepared: true, inject: disturbed("deallocate") };
}

/** Runs statements, each in a transaction of its own. */
async function runEach(rig: Rig, statements: string): Promise<void> {
  for (const statement of statements.split(";")) await rig.query(statement);
}

/** Faults of a connection with TLS. */
export const tlsFaults: readonly Fault[] = [
  {
    name: "TLS: the server refuses it",
    outage: true,
    async inject(rig) {
      const offer = async (value: string) => {
        await rig.query(`alter system set ssl = ${value}`);
        await rig.query("select pg_reload_conf()");
      };
      await offer("off");
      await rig.query(terminateAll);
      return () => offer("on");
    },
  },
  {
    name: "TLS: `pg_cancel_backend` of all running statements, ten times a second",
    inject: repeated(100, (rig) => rig.query(cancelAll)),
  },
  {
    name: "TLS: network corrupts any byte of every fourth packet",
    inject: disturbed({ corrupt: corruptAnyByte }),
  },
  { name: "TLS: network stalls", outage: true, inject: disturbed("stall") },
];

function disturbed(disturbance: Disturbance): Fault["inject"] {
  return ({ proxy }) => {
    proxy.disturb(disturbance);
    return Promise.resolve(() => Promise.resolve(proxy.disturb("none")));
  };
}

/** @param statements that cause the fault, each in a transaction of its own. @param undo the statement that ends it. */
function changed(statements: readonly string[], undo: string): Fault["inject"] {
  return async (rig) => {
    for (const statement of statements) await rig.query(statement);
    return () => rig.query(undo);
  };
}

function stopped(choose: (rig: Rig) => Promise<number[]>): Fault["inject"] {
  return async (rig) => {
    const pids = await choose(rig);
    signal(pids, "SIGSTOP");
    return () => Promise.resolve(signal(pids, "SIGCONT"));
  };
}

/** For a server that may still be recovering from the last repetition: what fails is repeated all the same. */
function repeated(interval: number, act: (rig: Rig) => unknown): Fault["inject"] {
  return repeatedly(interval, (rig) => Promise.resolve(act(rig)).catch(() => {}));
}

function repeatedly(interval: number, act: (rig: Rig) => Promise<unknown>): Fault["inject"] {
  return (rig) => {
    let over = false;
    const acting = (async () => {
      while (!over) {
        await act(rig);
        await pause(interval);
      }
    })();
    // It is thrown when the fault ends.
    acting.catch(() => {});
    return Promise.resolve(() => {
      over = true;
      return acting;
    });
  };
}

function signal(pids: readonly (number | undefined)[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      if (pid !== undefined) process.kill(pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** The probability that a chunk is corrupted. */
const chance = 0.25;

/** Corrupts the type or the length of the first message. */
function corruptFraming(chunk: Buffer, from: "service" | "database"): void {
  if (from === "database" && isWhole(chunk) && Math.random() < chance) {
    flip(chunk, Math.floor(Math.random() * 5));
  }
}

/**
 * Whether a chunk consists of whole messages. PostgreSQL sends long answers in pieces of 8 KiB, which may begin inside a row,
 * where nothing detects what is corrupted.
 */
function isWhole(chunk: Buffer): boolean {
  let at = 0;
  while (at + 5 <= chunk.length) at += 1 + Math.max(4, chunk.readUInt32BE(at + 1));
  return at === chunk.length;
}

function corruptAnyByte(chunk: Buffer): void {
  if (Math.random() < chance) flip(chunk, Math.floor(Math.random() * chunk.length));
}

function flip(chunk: Buffer, index: number): void {
  if (index < chunk.length) chunk[index] = (chunk[index] ?? 0) ^ (1 + Math.floor(Math.random() * 255));
}
