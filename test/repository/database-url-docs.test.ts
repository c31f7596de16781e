import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { type UrlParameter, urlParameters } from "../../src/store/url/parameters.ts";

test("docs/operate/database-url.md lists the parameters as the service reads them", async () => {
  const rows = Object.entries<UrlParameter>(urlParameters).map(
    ([name, { env, takes, help }]) =>
      `| \`${name}\` | ${env === undefined ? "" : `\`${env}\``} | ${takes?.words ?? "any text"} | ${help} |`,
  );
  const heading = [
    "| parameter | variable | takes | what it does, or why it takes no more |",
    "|---|---|---|---|",
  ];
  const page = await readFile(new URL("../../docs/operate/database-url.md", import.meta.url), "utf8");
  expect(page).toContain(`\n\n${[...heading, ...rows].join("\n")}\n\n`);
});
