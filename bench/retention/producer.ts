import pg from "pg";
import { failing } from "./plan.ts";
import { end, type Statement, start, startAgain, submitAgain, succeed } from "./statements.ts";

/** A producer of jobs. In each turn it submits a chunk of them, and moves on the chunks whose time has come. */
export interface Producer extends AsyncDisposable {
  /** @throws Error when a job was not there. */
  takeTurn(): Promise<void>;
}

export interface ProducerOptions {
  readonly url: string;
  /** Settings of its sessions, as SQL. */
  readonly session: string;
  /** The first job of its first chunk, which must be one that fails. */
  readonly firstJob: number;
  readonly jobsPerChunk: number;
  /** How many jobs after a chunk the next one begins. */
  readonly stride: number;
  /** Turns until a chunk is started; until it is ended; until its failures are submitted again. These take as long as they did before. */
  readonly turns: { readonly start: number; readonly end: number; readonly again: number };
  readonly submit: Statement;
  /** How failures are submitted again. Absent: as producers do. */
  readonly again?: {
    /** Its $3 is the first job that is submitted in the same turn. */
    readonly statement: Statement;
    readonly session: string;
  };
}

/** The planner knows neither how many jobs a series has nor that they are in the table. */
const plans = "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off";

export async function openProducer(options: ProducerOptions): Promise<Producer> {
  const { firstJob, jobsPerChunk, stride, turns, submit, again } = options;
  await using opened = new AsyncDisposableStack();
  const connect = async (session: string) => {
    const client = opened.adopt(new pg.Client(options.url), (each) => each.end());
    await client.connect();
    await client.query(`${plans}; ${options.session}; ${session}`);
    return client;
  };
  const ordinary = await connect("");
  const resubmitting = again && (await connect(again.session));
  const running = opened.move();
  let turn = 0;

  /** @param after the number of turns between the submission of the chunk and this statement. */
  async function run(
    { name, text, jobs }: Statement,
    after: number,
    client = ordinary,
    values: readonly number[] = [],
  ): Promise<void> {
    if (turn < after) return;
    const first = firstJob + (turn - after) * stride;
    const last = first + jobsPerChunk - 1;
    const { rowCount } = await client.query({ name, text, values: [first, last, ...values] });
    const wanted = jobs === "all" ? jobsPerChunk : jobsPerChunk / failing;
    if (rowCount !== wanted) {
      throw new Error(`"${name}" of the jobs ${first} to ${last}: ${rowCount} rows instead of ${wanted}`);
    }
  }

  return {
    async takeTurn() {
      await run(submit, 0);
      await run(start, turns.start);
      await run(end, turns.end);
      if (again === undefined) await run(submitAgain, turns.again);
      else await run(again.statement, turns.again, resubmitting, [firstJob + turn * stride]);
      await run(startAgain, turns.again + turns.start);
      await run(succeed, turns.again + turns.end);
      turn++;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
