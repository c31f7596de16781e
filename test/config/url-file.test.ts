import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readConfig } from "../../src/config/config.ts";
import { redactConfig } from "../../src/config/redact.ts";
import { mistakesIn } from "../support/config.ts";
import { createFolder, type Folder } from "../support/folder.ts";

// DATABASE_URL_FILE and DATABASE_READ_URL_FILE: the URL of a database in a file.

const url = "postgres://app:hunter2@db.example/status";

let folder: Folder;

beforeAll(async () => {
  folder = await createFolder();
});

afterAll(() => folder[Symbol.asyncDispose]());

test.for(["serve", "migrate"] as const)("%s has the URL as if it were set", async (command) => {
  const file = await folder.write("url", `${url}\n`);
  expect(readConfig({ DATABASE_URL_FILE: file }, command).DATABASE_URL).toBe(url);
  expect(readConfig({ DATABASE_URL_FILE: file, NODE_ENV: "production" }, command).DATABASE_URL).toBe(url);
  const env = { DATABASE_URL_FILE: file, DATABASE_READ_URL_FILE: await folder.write("read", url) };
  expect(readConfig(env, command).DATABASE_READ_URL).toBe(url);
});

test("libpq's variables complete it, when it is read and when it is read again", async () => {
  const file = await folder.write("url", url);
  const config = readConfig({ DATABASE_URL_FILE: file, PGSSLMODE: "require" }, "serve");
  expect(config.DATABASE_URL).toBe(`${url}?sslmode=require`);
  expect(config.DATABASE_URL_FILE?.parse("postgres://next\r\n")).toBe("postgres://next?sslmode=require");
});

test("the log shows its path, and the URL without the password", async () => {
  const file = await folder.write("url", url);
  const shown = redactConfig(readConfig({ DATABASE_URL_FILE: file, DATABASE_READ_URL_FILE: file }, "serve"));
  expect(JSON.parse(JSON.stringify(shown))).toMatchObject({
    DATABASE_URL: "postgres://app@db.example/status",
    DATABASE_URL_FILE: file,
    DATABASE_READ_URL: "postgres://app@db.example/status",
    DATABASE_READ_URL_FILE: file,
  });
  expect(JSON.stringify(shown)).not.toContain("hunter2");
});

test("get reads no such file", () => {
  expect(mistakesIn({ DATABASE_URL_FILE: "/nowhere" }, "get")).toEqual([]);
});

describe.for(["DATABASE_URL", "DATABASE_READ_URL"])("%s_FILE", (name) => {
  const primary: Record<string, string> = name === "DATABASE_URL" ? {} : { DATABASE_URL: url };

  test("is refused beside the URL itself", async () => {
    const env = { ...primary, [name]: url, [`${name}_FILE`]: await folder.write("url", url) };
    for (const command of ["serve", "migrate"] as const) {
      expect(mistakesIn(env, command)).toEqual([`${name}_FILE conflicts with ${name}: set one of them`]);
    }
  });

  test.for([
    { name: "an empty file", content: "", problem: "it is empty" },
    { name: "an empty line", content: "\n", problem: "it is empty" },
    { name: "two lines", content: `${url}\n\n`, problem: "it has several lines" },
    { name: "a comment", content: `# hunter2\n${url}`, problem: "it has several lines" },
    {
      name: "a variable",
      content: `DATABASE_URL=${url}`,
      problem: "it got something else, not shown since it may hold a secret",
    },
    {
      name: "a space",
      content: `${url} `,
      problem: "it has a space or a control character: percent-encode it (%20)",
    },
    {
      name: "an unknown parameter",
      content: `${url}?hunter2`,
      problem: "what follows the ? must be parameters of the form name=value, with & between them",
    },
    {
      name: "a value that is refused",
      content: `${url}?sslmode=hunter2`,
      line: ": sslmode takes one of disable, allow, prefer, require, verify-ca, verify-full",
    },
  ])("names itself, the path and what is right, and shows nothing of $name", async ({
    content,
    problem,
    line,
  }) => {
    const file = await folder.write("bad", content);
    const said = line ?? ` must hold a URL that begins with postgres:// or postgresql://: ${problem}`;
    expect(mistakesIn({ ...primary, [`${name}_FILE`]: file })).toEqual([`${name}_FILE=${file}${said}`]);
  });

  test("is not shown when it is the URL itself", () => {
    expect(mistakesIn({ ...primary, [`${name}_FILE`]: url })).toEqual([
      `${name}_FILE takes the path of a file that holds a URL that begins with postgres:// or postgresql://, and nothing else: ` +
        "it got something else, not shown since it may hold a secret",
    ]);
  });

  test("cannot be a file that is not there", () => {
    const file = `${folder.path}/missing`;
    expect(mistakesIn({ ...primary, [`${name}_FILE`]: file })).toEqual([
      `${name}_FILE=${file} cannot be read (ENOENT)`,
    ]);
  });
});

test("the file of a replica requires a primary", async () => {
  const file = await folder.write("url", url);
  expect(mistakesIn({ DATABASE_READ_URL_FILE: file })).toEqual([
    "DATABASE_URL takes a URL that begins with postgres:// or postgresql://: it is not set, and DATABASE_READ_URL_FILE requires it",
  ]);
});
