import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { settings } from "../../src/config/settings.ts";
import { getStatusPath } from "../support/calls.ts";
import { createDatabase } from "../support/database.ts";
import { createFolder } from "../support/folder.ts";
import { startServing } from "../support/process.ts";
import { insertJob } from "../support/rows.ts";
import { tokenLine } from "../support/tokens.ts";
import { metricTables, settingTables, withTables } from "./generated.ts";
import { page, root } from "./pages.ts";

const configuration = page("docs/operate/configuration.md");
const metrics = page("docs/operate/metrics.md");

// `npx vitest run test/docs -u` writes these pages anew.
test("docs/operate/configuration.md has every setting as the service reads it", async () => {
  const expected = withTables(configuration.text, settingTables);
  await expect(expected).toMatchFileSnapshot(join(root, configuration.path));
  for (const name of Object.keys(settings)) expect(expected).toContain(`| \`${name}\` |`);
});

test.runIf(process.platform === "linux")(
  "docs/operate/metrics.md has every metric as /metrics serves it",
  async () => {
    await using folder = await createFolder();
    await using database = await createDatabase();
    const reqId = await insertJob(database.db);
    await using service = await startServing({
      DATABASE_URL: database.url,
      DATABASE_READ_URL: database.url,
      PURGE: "on",
      AUTH_TOKENS_FILE: await folder.write("tokens", tokenLine("alice", "of-alice")),
    });
    const headers = { Authorization: "Bearer of-alice" };
    await service.logged("the replica serves");
    await fetch(`${service.url}/get_status/${reqId}`, { headers });
    await fetch(service.url + getStatusPath, {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/json" },
      body: JSON.stringify({ reqId, wait: "0.001s" }),
    });
    const text = await fetch(`${service.url}/metrics`, { headers }).then((response) => response.text());
    const { text: written } = metrics;
    await expect(withTables(written, withCauses(metricTables(text)))).toMatchFileSnapshot(
      join(root, metrics.path),
    );
  },
);

/** What no test brings about every time: a read that the replica has no answer for. */
function withCauses(tables: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const place = /(?<=^\| `status_store_reasks` \| counter \| )(?=\| )/m;
  return Object.fromEntries(
    Object.entries(tables).map(([name, table]) => [name, table.replace(place, "`cause` ")]),
  );
}

test("the README's settings exist, with these defaults", () => {
  const [, table = ""] = /## Settings\n.*?\n\|---\|---\|---\|\n(.*?)\n\n/s.exec(page("README.md").text) ?? [];
  const rows = Array.from(table.matchAll(/^\| (.*?) \| (.*?)\| /gm), ([, names = "", preset = ""]) => ({
    names: Array.from(names.matchAll(/`(\w+)`/g), ([, name = ""]) => name),
    preset: preset.trim().replaceAll("`", "") || undefined,
  }));
  expect(rows).toHaveLength(10);
  for (const { names, preset } of rows) {
    for (const name of names) {
      expect(Object.keys(settings)).toContain(name);
      expect(settings[name as keyof typeof settings].default, name).toBe(preset);
    }
  }
});

test("the ratios of docs/evidence/performance.md, and the README's, are those of the last full benchmark", async () => {
  const report = await readFile(join(root, "bench/results/full.md"), "utf8");
  const ratios = new Map(
    Array.from(
      report.matchAll(/^\| (REST|gRPC): answers per server CPU second, against (.*?) \| ([\d.]+) ×/gm),
      ([, protocol, server, ratio]) => [`${protocol} ${server}`, Number(ratio)],
    ),
  );
  const { text } = page("docs/evidence/performance.md");
  const rows = Array.from(text.matchAll(/^\| (.+?) \| ([\d.]+) × \| (.+?) \| ([\d.]+) × \|$/gm));
  expect(rows).toHaveLength(4);
  for (const [, rest = "", restRatio, grpc = "", grpcRatio] of rows) {
    const shown = { [`REST ${rest}`]: Number(restRatio), [`gRPC ${grpc}`]: Number(grpcRatio) };
    for (const [name, ratio] of Object.entries(shown)) {
      const measured = ratios.get(name.replaceAll("`", "").replace(", constant answer", ""));
      expect(Math.abs((measured ?? Number.NaN) - ratio), name).toBeLessThan(0.05);
    }
  }
  const [, go, grpcGo] =
    /\*\*([\d.]+) ×\*\*.*\*\*([\d.]+) ×\*\* as many as grpc-go/s.exec(page("README.md").text) ?? [];
  expect(Math.abs(Number(go) - (ratios.get("REST Go net/http + pgx") ?? Number.NaN))).toBeLessThan(0.05);
  expect(Math.abs(Number(grpcGo) - (ratios.get("gRPC grpc-go + pgx") ?? Number.NaN))).toBeLessThan(0.05);
});

test("the README says how to test", () => {
  expect(page("README.md").text).toContain("## Test it\n\n```sh\nnpm test\n```\n");
});
