import { expect, test } from "vitest";
import { createProgress, progressBar } from "../../src/commands/purge-progress.ts";
import { createLog } from "../../src/telemetry/log.ts";

const at = (time: string) => new Date(`2026-03-03T${time}Z`);
const progress = {
  purged: 1_234_567,
  batches: 247,
  oldest: at("00:00:00"),
  newest: at("06:00:00"),
  cutoff: at("08:00:00"),
};

/** A report of progress whose clock the test sets, beside a log whose lines it reads. */
function start(showProgress?: (line: string) => void) {
  const logs: Record<string, unknown>[] = [];
  const log = createLog("info", { write: (line) => void logs.push(JSON.parse(line)) });
  const clock = { now: 0 };
  const lineOutput = { write() {}, print() {}, droppedLines: () => 0, end: () => Promise.resolve(true) };
  const output = { ...lineOutput, ...(showProgress && { showProgress }) };
  return { logs, clock, report: createProgress(log, output, () => clock.now) };
}

test("the bar goes by age: from the oldest row that was deleted to what is not old enough", () => {
  expect(progressBar(progress, 21_400, 120)).toBe(
    "[######################........]  75%  1,234,567 rows  21,400 rows/s",
  );
});

test.for([
  { name: "all rows of one second", newest: progress.oldest, cutoff: progress.cutoff, begins: "[......" },
  {
    name: "the last batch",
    newest: progress.cutoff,
    cutoff: progress.cutoff,
    begins: `[${"#".repeat(30)}] 100%`,
  },
  {
    name: "nothing between the oldest row and the cutoff",
    newest: progress.oldest,
    cutoff: progress.oldest,
    begins: `[${"#".repeat(30)}] 100%`,
  },
  {
    name: "a newest row that is younger than the cutoff was",
    newest: at("09:00:00"),
    cutoff: progress.cutoff,
    begins: `[${"#".repeat(30)}] 100%`,
  },
])("the bar of $name", ({ newest, cutoff, begins }) => {
  expect(progressBar({ ...progress, newest, cutoff }, 1, 120).startsWith(begins)).toBe(true);
});

test.for([1, 2, 20, 100])("the line is shorter than a terminal of %i columns", (columns) => {
  expect(progressBar(progress, 21_400, columns).length).toBeLessThanOrEqual(Math.max(1, columns - 1));
});

test("on a terminal, each batch moves the bar, which is removed at the end, and nothing is logged", () => {
  const shown: string[] = [];
  const { report, logs, clock } = start((line) => shown.push(line));
  clock.now = 10_000;
  report.show(progress);
  report.show({ ...progress, newest: progress.cutoff });
  report[Symbol.dispose]();
  expect(shown).toEqual([expect.stringContaining(" 75%"), expect.stringContaining("100%"), ""]);
  expect(shown[0]).toContain("123,457 rows/s");
  expect(logs).toEqual([]);
});

test("elsewhere, a line is logged every five seconds at most, however many batches there are", () => {
  const { report, logs, clock } = start();
  for (let batch = 1; batch <= 1_000; batch++) {
    clock.now = 11 * batch;
    report.show({ ...progress, purged: 100 * batch, batches: batch });
  }
  report[Symbol.dispose]();
  expect(logs).toMatchObject([
    {
      msg: "purging",
      purged: 45_500,
      batches: 455,
      newest: "2026-03-03T06:00:00.000Z",
      rows_per_second: 9_091,
    },
    { msg: "purging", purged: 91_000, batches: 910 },
  ]);
});
