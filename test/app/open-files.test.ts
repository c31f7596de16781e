import { connect, type Socket } from "node:net";
import { expect, test } from "vitest";
import { createDatabase } from "../support/database.ts";
import { cli, compileCache, listening, run } from "../support/process.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

/** Runs `serve` with a limit of open files. */
function serveWithin(openFiles: number, env: Readonly<Record<string, string>>) {
  const command = `ulimit -n ${openFiles} && exec "$0" "$@"`;
  return run(["sh", "-c", command, process.execPath, cli, "serve"], {
    env: { ...compileCache, HOST: "127.0.0.1", PORT: "0", ...env },
  });
}

/** Asks on a connection that stays open. @returns what came back, and nothing where the connection was closed. */
async function ask(port: number, path: string): Promise<{ socket: Socket; answer: string }> {
  const socket = connect(port, "127.0.0.1").setEncoding("utf8");
  socket.on("error", () => {});
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const answer = await new Promise<string>((resolve) => {
    socket.once("data", (data) => resolve(`${data}`)).once("close", () => resolve(""));
  });
  return { socket, answer };
}

test("MAX_CONNECTIONS above ulimit -n: both are named, connections that do not fit are counted, and the database has its own", async () => {
  await using database = await createDatabase();
  const reqId = await insertJob(database.db);
  const documented = await documentedJson(database.db, reqId);
  await using service = serveWithin(128, { DATABASE_URL: database.url, MAX_CONNECTIONS: "1000" });
  const { port } = await listening(service);
  const warning = await service.logged("MAX_CONNECTIONS exceeds ulimit -n: fewer connections are accepted");
  expect(warning).toMatchObject({ level: "warn", MAX_CONNECTIONS: 1_000, openFiles: 128, connections: 44 });

  const asked = [];
  for (let count = 0; count < 150; count++) asked.push(await ask(port, `/get_status/${reqId}`));
  const answers = asked.map(({ answer }) => answer.slice(answer.indexOf("\r\n\r\n") + 4));
  expect(answers).toEqual(Array.from({ length: 150 }, (_, index) => (index < 44 ? documented : "")));
  expect(
    await service.logged("connections were closed: MAX_CONNECTIONS or ulimit -n is reached"),
  ).toMatchObject({ level: "warn", count: expect.any(Number) });

  for (const { socket } of asked) socket.destroy();
  const dropped = async () => {
    const { socket, answer } = await ask(port, "/metrics");
    socket.destroy();
    return Number(/\nconnections_dropped_total (\d+)/.exec(answer)?.[1]);
  };
  // The places may not be free yet.
  await expect.poll(dropped).toBeGreaterThanOrEqual(106);
  service.kill("SIGTERM");
  expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
});

test("MAX_CONNECTIONS within ulimit -n: no warning", async () => {
  await using service = serveWithin(128, {
    DATABASE_URL: "postgres://nobody@127.0.0.1:1/none",
    MAX_CONNECTIONS: "44",
  });
  await listening(service);
  expect(service.logs.map(({ msg }) => msg)).not.toContainEqual(expect.stringContaining("ulimit"));
});
