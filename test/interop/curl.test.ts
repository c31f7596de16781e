import { execFile } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { installDebian } from "./tools.ts";
import { move, untilWatched } from "./waiting.ts";

const curl = await installDebian("curl", "usr/bin/curl");

const badRequest = `{"Error":"Bad Request","Message":"Bad Request","Status":400}`;

describe.skipIf(curl.skipped)(curl.title, () => {
  let database: TestDatabase;
  let app: TestApp;
  let url: string;
  let found: string;

  beforeAll(async () => {
    database = await createDatabase();
    app = await startTestApp({ DATABASE_URL: database.url });
    const reqId = await insertJob(database.db, { status: "failure", error: "it broke" });
    url = `${app.url}/get_status/${reqId}`;
    found = await documentedJson(database.db, reqId);
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  /** @returns curl's output, followed by its exit code if that is not 0. */
  function run(...args: string[]): Promise<string> {
    return runWatched(args);
  }

  /** @param onOutput takes the output as curl writes it. */
  function runWatched(args: readonly string[], onOutput?: (text: string) => void): Promise<string> {
    const env = { ...process.env, ...curl.env };
    return new Promise((resolve) => {
      const child = execFile(curl.path, ["--silent", ...args], { env }, (error, stdout) =>
        resolve(error === null ? stdout : `${stdout}exit code ${child.exitCode}`),
      );
      if (onOutput !== undefined) child.stdout?.on("data", onOutput);
    });
  }

  function manyCalls(count: number): string[] {
    return Array.from({ length: count }, () => [url, "--output", "/dev/null"]).flat();
  }

  const summary = ["--write-out", " %{http_version} %{http_code} %{content_type}"];

  describe.for([
    { flag: "--http1.1", version: "1.1" },
    { flag: "--http1.0", version: "1.1" },
    // Asks to upgrade, which a server may ignore (RFC 9110, section 7.8).
    { flag: "--http2", version: "1.1" },
    { flag: "--http2-prior-knowledge", version: "2" },
  ])("$flag", ({ flag, version }) => {
    test("a status", async () => {
      expect(await run(flag, ...summary, url)).toBe(`${found} ${version} 200 application/json`);
    });

    test("a malformed id", async () => {
      const answer = await run(flag, ...summary, `${app.url}/get_status/x`);
      expect(answer).toBe(`${badRequest} ${version} 400 application/json`);
    });

    test("HEAD", async () => {
      const headers = (await run(flag, "--head", url)).toLowerCase();
      expect(headers).toMatch(new RegExp(`^http/${version} 200`));
      expect(headers).toContain(`content-length: ${found.length}`);
    });

    test("Connect, JSON by POST", async () => {
      const reqId = url.slice(-36);
      const post = ["--json", JSON.stringify({ reqId })];
      const answer = await run(flag, ...post, `${app.url}/gomemory.status.v1.StatusService/GetStatus`);
      expect(JSON.parse(answer)).toEqual(JSON.parse(found));
    });

    test("?wait=30s: the answer comes when the job is done", async () => {
      const reqId = await insertJob(database.db);
      const answer = run(flag, ...summary, `${app.url}/get_status/${reqId}?wait=30s`);
      await untilWatched(app.url, 1);
      await move(database, reqId, "success");
      const body = await documentedJson(database.db, reqId);
      expect(await answer).toBe(`${body} ${version} 200 application/json`);
    });

    test("Accept: text/event-stream: each event as it happens, and the end", async () => {
      const reqId = await insertJob(database.db);
      const of = async (state: string) => {
        const json = await documentedJson(database.db, reqId);
        return `id: ${JSON.parse(json).createdAt}/${state}\nevent: status\ndata: ${json}\n\n`;
      };
      let written = "";
      const events = ["--no-buffer", "--header", "Accept: text/event-stream"];
      const asked = [flag, ...events, ...summary, `${app.url}/get_status/${reqId}`];
      const answer = runWatched(asked, (text) => {
        written += text;
      });
      let wanted = await of("pending");
      for (const state of ["processing", "success"] as const) {
        await expect.poll(() => written.replace(/^retry: [2-5]\d{3}\n\n/, "")).toBe(wanted);
        await move(database, reqId, state);
        wanted += await of(state);
      }
      wanted += `event: end\ndata: {"reason":"FINAL"}\n\n`;
      expect((await answer).replace(/^retry: \d+\n\n/, "")).toBe(
        `${wanted} ${version} 200 text/event-stream`,
      );
    });

    test("a batch", async () => {
      const post = ["--json", JSON.stringify({ reqIds: [url.slice(-36)] })];
      const answer = await run(flag, ...post, `${app.url}/get_status:batch`);
      expect(JSON.parse(answer)).toEqual({ items: [{ reqId: url.slice(-36), status: JSON.parse(found) }] });
    });
  });

  test("Prefer: wait=1: the status as it is when the wait is over, with Preference-Applied", async () => {
    const reqId = await insertJob(database.db);
    const headers = ["--include", "--header", "Prefer: wait=1"];
    const answer = await run(...headers, `${app.url}/get_status/${reqId}`);
    expect(answer).toMatch(/^preference-applied: wait=1\r$/im);
    expect(answer).toMatch(/^retry-after: 2\r$/im);
    expect(answer).toContain(await documentedJson(database.db, reqId));
  });

  // With prior knowledge of HTTP/2, curl 7.88 fails at the second call on a connection, against nginx as well.
  test("--http1.1: one connection for many calls", async () => {
    const connects = await run("--http1.1", "--write-out", "%{num_connects}", ...manyCalls(20));
    expect(connects).toBe(`1${"0".repeat(19)}`);
  });

  test("--http2-prior-knowledge: many calls at once", async () => {
    const parallel = ["--http2-prior-knowledge", "--parallel", "--parallel-immediate"];
    const codes = await run(...parallel, "--write-out", "%{http_version} %{http_code}\n", ...manyCalls(50));
    expect(codes).toBe("2 200\n".repeat(50));
  });

  test("--fail: exit code 22", async () => {
    expect(await run("--fail", `${app.url}/get_status/x`)).toBe("exit code 22");
  });

  test("--compressed: the answer is not compressed", async () => {
    expect(await run("--compressed", url)).toBe(found);
  });
});
