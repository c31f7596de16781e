import { expect, test } from "vitest";
import { readVacuum } from "../../bench/retention/costs/counters.ts";
import { markdown } from "../../bench/retention/costs/report.ts";
import { createDatabase } from "../support/database.ts";

test("the costs of a vacuum are those of the table, and not of its TOAST table", async () => {
  await using database = await createDatabase();
  const client = await database.pool.connect();
  const notices: string[] = [];
  client.on("notice", ({ message }) => notices.push(message ?? ""));
  await client.query(
    "insert into memory_job (req_id, status) select gen_random_uuid(), 'pending' from generate_series(1, 1000)",
  );
  await client.query("delete from memory_job");
  await client.query("vacuum (verbose) memory_job");
  client.release();
  const costs = readVacuum(notices.join("\n"));
  expect(costs.pages).toBeGreaterThan(10);
  expect(costs.wal).toBeGreaterThan(1_000);
  expect(readVacuum(notices.toReversed().join("\n"))).not.toEqual(costs);
});

test("a text that is no report of a vacuum is refused", () => {
  expect(() => readVacuum("buffer usage: 1 hits, 2 reads, 3 dirtied")).toThrow(/not the report of a vacuum/);
});

test("a figure has as many digits as its size needs", () => {
  const section = {
    title: "A",
    text: "B.",
    columns: ["", "n"],
    rows: [
      ["a", 0.456],
      ["b", 45.67],
      ["c", 4567.8],
      ["d", 3],
      ["e", "x"],
    ],
  };
  const text = markdown({
    date: "2026-11-27T00:00:00Z",
    machine: {},
    postgresql: "18.4",
    parts: { a: [section as never] },
  });
  expect(text).toContain("| a | 0.46 |\n| b | 45.7 |\n| c | 4,568 |\n| d | 3 |\n| e | x |");
});
