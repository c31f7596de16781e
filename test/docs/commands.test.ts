import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { readConfig } from "../../src/config/config.ts";
import { documentedJson } from "../support/rows.ts";
import { blocksNotRun, commandsNotRun } from "./not-run.ts";
import { blocksIn, commandsOf, page, pages } from "./pages.ts";
import { exampleId, openSession, type Session, unknownId } from "./session.ts";

const isRun = (command: string) => !commandsNotRun.some(({ begins }) => command.startsWith(begins));
const isShown = (command: string) => /^export DATABASE_URL=/.test(command);

/** Programs of the pages that a machine may lack. */
const missing = ["curl", "openssl", "psql", "python3", "timeout"].filter(
  (name) => spawnSync(name, ["--version"]).error,
);

describe("the commands of", () => {
  const scripts = pages.flatMap(({ path, blocks }) => {
    const commands = blocks
      .filter(({ language }) => language === "sh")
      .flatMap(({ code }) => commandsOf(code));
    return commands.some(isRun) ? [{ path, commands: commands.filter(isRun) }] : [];
  });

  test.for(scripts)("$path", { timeout: 120_000 }, async ({ commands }, { skip }) => {
    for (const name of missing)
      skip(
        commands.some((command) => command.includes(`${name} `)),
        `no ${name} here`,
      );
    await using session = await openSession();
    for (const command of commands) {
      if (isShown(command)) checkUrl(command);
      else await check(command, await session.type(command), session);
    }
  });
});

/** The URLs of examples lead nowhere, but can be read. */
function checkUrl(command: string): void {
  const [, url = ""] = /^export DATABASE_URL='?([^']+)'?$/.exec(command) ?? [];
  expect(() => readConfig({ DATABASE_URL: url }, "migrate")).not.toThrow();
}

async function check(command: string, printed: string, { database }: Session): Promise<void> {
  if (/get_status|\wStatus| get /.test(command)) {
    expectStatus(command, printed, JSON.parse(await documentedJson(database.db, exampleId)));
  } else if (/ list$/.test(command)) expect(printed, command).toContain("gomemory.status.v1.StatusService");
  else if (command.endsWith("/healthz")) expect(printed, command).toBe(`{"status":"alive"}`);
  else if (command.endsWith("/readyz")) expect(printed, command).toBe(`{"status":"ready"}`);
  else if (command.endsWith("/metrics")) expect(printed, command).toMatch(/# EOF\n$/);
  else if (command.includes("python3 -c")) expect(printed, command).toBe("p%40ss%2Fword\n");
  else if (command.includes(" purge"))
    expect(JSON.parse(printed).msg, command).toMatch(/^(?:would )?purged?$/);
  const [, role] = /create role (\w+)/.exec(command) ?? [];
  if (role !== undefined) await database.pool.query(`drop role ${role}`);
}

/** @param documented the status of the id that every example names. */
function expectStatus(command: string, printed: string, documented: object): void {
  const known = { reqId: exampleId, status: documented };
  if (command.includes("text/event-stream")) {
    expect(dataOf(printed), command).toEqual([documented, { reason: "FINAL" }]);
  } else if (command.includes("WatchStatus")) {
    expect(JSON.parse(printed), command).toEqual({ status: known });
  } else if (/:batch|BatchGetStatus/.test(command)) {
    const unknown = { reqId: unknownId, error: { reason: "STATUS_NOT_FOUND" } };
    expect(JSON.parse(printed), command).toEqual({ items: [known, unknown] });
  } else expect(JSON.parse(printed), command).toEqual(documented);
}

/** @returns the data of server-sent events. */
function dataOf(text: string): unknown[] {
  return Array.from(text.matchAll(/^data: (.*)$/gm), ([, data = ""]) => JSON.parse(data));
}

test("the certificate of the recipe is no CA, which clients on rustls refuse as a server's", () => {
  const recipes = blocksIn("sh").flatMap(({ code }) =>
    commandsOf(code).filter((each) => each.startsWith("openssl req")),
  );
  expect(recipes).toHaveLength(1);
  expect(recipes[0]).toContain("-addext basicConstraints=critical,CA:FALSE");
});

describe("a block that no test runs", () => {
  /** `sh`, `sql` and `json` are run and compared in this folder; of `text` and `mermaid` there is nothing to run. */
  const languages = ["sh", "sql", "json", "yaml", "ini", "js", "go", "python", "text", "mermaid"];

  test("is in a known language", () => {
    const others = pages.flatMap(({ path, blocks }) =>
      blocks.filter(({ language }) => !languages.includes(language)).map(({ code }) => ({ path, code })),
    );
    expect(others).toEqual([]);
  });

  test("is listed, with the reason", () => {
    const blocks = ["js", "go", "python"]
      .flatMap(blocksIn)
      .filter(({ code }) => !code.includes("urllib.request"));
    expect(blocks.filter(({ code }) => !blocksNotRun.some(({ holds }) => code.includes(holds)))).toEqual([]);
    for (const { holds } of blocksNotRun)
      expect(
        blocks.some(({ code }) => code.includes(holds)),
        holds,
      ).toBe(true);
  });

  test("is listed only as long as a page has it", () => {
    const commands = blocksIn("sh").flatMap(({ code }) => commandsOf(code));
    for (const { begins } of commandsNotRun) {
      expect(
        commands.some((command) => command.startsWith(begins)),
        begins,
      ).toBe(true);
    }
  });
});

test("text blocks hold no commands", () => {
  for (const { code } of blocksIn("text"))
    expect(code).not.toMatch(/^(?:npm|npx|curl|docker|psql|kubectl|\$) /m);
});

test("the README's statement is that of the page for producers", () => {
  const [first] = page("docs/use/producers.md").blocks.filter(({ language }) => language === "sql");
  const statements = page("README.md").blocks.filter(({ language }) => language === "sql");
  expect(statements).toEqual([first]);
});
