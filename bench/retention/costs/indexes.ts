import type pg from "pg";
import { spread } from "../../report/spread.ts";
import type { CostsBench, Variant } from "./bench.ts";
import { heapAndIndexes, walPosition } from "./counters.ts";
import { megabytes, type Section } from "./section.ts";

const kinds = ["none", "btree", "brin 128", "brin 32"] as const satisfies Variant["index"][];
const rounds = 5;
/** In a round, for each index. */
const jobs = 5_000;
const filled = 1_000_000;

/** Each step of a job, on jobs that were inserted in another order. */
const procedure = `
  create procedure each_job(step text, first bigint) language plpgsql as $$
  declare
    job bigint;
    id  uuid;
  begin
    if step = 'insert 100' then
      for i in 0 .. ${jobs / 100 - 1} loop
        insert into memory_job (req_id, status)
        select md5(j::text)::uuid, 'pending' from generate_series(first + 100 * i, first + 100 * i + 99) j;
        commit;
      end loop;
      return;
    end if;
    for i in 0 .. ${jobs - 1} loop
      job := first + (i * 7919::bigint + 13) % ${jobs};
      id := md5(job::text)::uuid;
      case step
        when 'insert' then insert into memory_job (req_id, status) values (id, 'pending');
        when 'begin' then update memory_job set status = 'processing' where req_id = id;
        when 'succeed' then update memory_job set status = 'success' where req_id = id;
        when 'fail' then update memory_job set status = 'failure', error = 'it broke' where req_id = id;
        when 'submit again' then update memory_job set status = 'pending', error = null where req_id = id;
      end case;
      commit;
    end loop;
  end $$`;

/** In this order, on the same jobs; those that are inserted in statements of 100 then succeed, the others fail. */
const steps = [
  { step: "insert", set: 0 },
  { step: "insert 100", set: 1 },
  { step: "begin", set: 1 },
  { step: "succeed", set: 1 },
  { step: "fail", set: 0 },
  { step: "submit again", set: 0 },
] as const;

interface Costs {
  readonly wal: number;
  readonly micros: number;
}

/** What an index on created_at adds to each step of a job. */
export async function measureIndexes(bench: CostsBench): Promise<Section[]> {
  const clients = new Map<Variant["index"], pg.Client>();
  for (const index of kinds) clients.set(index, await prepare(bench, index));
  await bench.set("full_page_writes", "off");
  const measured: Map<string, Costs[]> = new Map();
  for (let round = 0; round < rounds; round++) {
    for (const { step, set } of steps) {
      for (let i = 0; i < kinds.length; i++) {
        const index = kinds[(i + round) % kinds.length] as Variant["index"];
        const first = filled + (2 * round + set) * jobs;
        const costs = await run(clients.get(index) as pg.Client, step, first);
        measured.set(`${index} ${step}`, [...(measured.get(`${index} ${step}`) ?? []), costs]);
      }
    }
  }
  await bench.set("full_page_writes", "on");
  const images = await countImages(clients);
  const sections = [stepsSection(measured), imagesSection(images), await sizesSection(clients)];
  for (const client of clients.values()) await client.end();
  return sections;
}

async function prepare(bench: CostsBench, index: Variant["index"]): Promise<pg.Client> {
  const schema = `index_${index.replace(" ", "_")}`;
  await bench.create(schema, { index, fillfactor: 100 });
  const client = await bench.connect(schema);
  await client.query(`
    insert into memory_job (req_id, status, created_at)
    select md5(i::text)::uuid, 'success', now() - make_interval(secs => 0.09 * (${filled} - i))
    from generate_series(0, ${filled - 1}) i`);
  await client.query("vacuum (analyze) memory_job");
  await client.query(procedure);
  return client;
}

async function run(client: pg.Client, step: string, first: number): Promise<Costs> {
  const wal = await walPosition(client);
  const start = performance.now();
  await client.query("call each_job($1, $2)", [step, first]);
  const micros = (1000 * (performance.now() - start)) / jobs;
  return { micros, wal: ((await walPosition(client)) - wal) / jobs };
}

/** Pages that are written to the WAL whole, since a step is the first to change them after a checkpoint. */
async function countImages(clients: ReadonlyMap<Variant["index"], pg.Client>): Promise<Map<string, number>> {
  const images = new Map<string, number>();
  const count = async (client: pg.Client): Promise<number> => {
    await client.query("select pg_stat_force_next_flush()");
    const { rows } = await client.query<{ images: number }>(
      "select wal_fpi::float8 as images from pg_stat_wal",
    );
    return rows[0]?.images ?? Number.NaN;
  };
  for (const { step, set } of steps) {
    for (const [index, client] of clients) {
      await client.query("checkpoint");
      const before = await count(client);
      await client.query("call each_job($1, $2)", [step, filled + (2 * rounds + set) * jobs]);
      images.set(`${index} ${step}`, (await count(client)) - before);
    }
  }
  return images;
}

function stepsSection(measured: ReadonlyMap<string, readonly Costs[]>): Section {
  const median = (key: string, of: (costs: Costs) => number) =>
    spread((measured.get(key) ?? []).map(of)).median;
  return {
    title: "A step of a job, by the index on created_at",
    text:
      `A table of a million rows, ${jobs.toLocaleString("en")} jobs in each of ${rounds} rounds in turn, medians. Each step is a transaction that waits for no disk; WAL without full-page images. ` +
      "Ratios of times are to the table without an index, in the same round.",
    columns: [
      "step",
      ...kinds.map((index) => `WAL bytes, ${index}`),
      "µs, none",
      ...kinds.slice(1).map((index) => `time, ${index}`),
    ],
    rows: steps.map(({ step }) => [
      step,
      ...kinds.map((index) => median(`${index} ${step}`, ({ wal }) => wal)),
      median(`none ${step}`, ({ micros }) => micros),
      ...kinds.slice(1).map((index) => {
        const without = measured.get(`none ${step}`) ?? [];
        const ratios = (measured.get(`${index} ${step}`) ?? []).map(
          ({ micros }, round) => micros / (without[round]?.micros ?? Number.NaN),
        );
        return `${spread(ratios).median.toFixed(2)} ×`;
      }),
    ]),
  };
}

function imagesSection(images: ReadonlyMap<string, number>): Section {
  return {
    title: "Full-page images of a step, by the index on created_at",
    text: `Of ${jobs.toLocaleString("en")} jobs right after a checkpoint, as many as there can be: 8 KB each, less its free space.`,
    columns: ["step", ...kinds],
    rows: steps.map(({ step }) => [
      step,
      ...kinds.map((index) => images.get(`${index} ${step}`) ?? Number.NaN),
    ]),
  };
}

async function sizesSection(clients: ReadonlyMap<Variant["index"], pg.Client>): Promise<Section> {
  const rows: Section["rows"][number][] = [];
  for (const [index, client] of clients) {
    const { heap, primaryKey, createdAt } = await heapAndIndexes(client);
    rows.push([index, megabytes(heap), megabytes(primaryKey), createdAt / 2 ** 10]);
  }
  return {
    title: "Size of a million rows, by the index on created_at",
    text: "Inserted in order of age, at random ids, with the jobs that were measured.",
    columns: ["index", "table MB", "primary key MB", "created_at KB"],
    rows,
  };
}
