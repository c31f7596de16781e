import { execFile } from "node:child_process";
import { describe, expect, test } from "vitest";
import { createFolder } from "../support/folder.ts";
import { startServing } from "../support/process.ts";
import { followRecipe } from "./services.ts";
import { installPython } from "./tools.ts";

const sslyze = await installPython("sslyze", ["sslyze==6.3.1", "cryptography==46.0.7"], "sslyze");

/**
 * What sslyze finds amiss of a certificate, whoever serves it: that none of the CAs it knows has signed it. (Its other
 * findings on certificates, such as a key that is too short, would be the recipe's mistakes.)
 */
const notOurs = ["certificate_path_validation"];

describe.skipIf(sslyze.skipped)(sslyze.title, () => {
  test.for([
    { name: "ECDSA", key: undefined },
    { name: "RSA", key: "-newkey rsa:2048" },
  ])("Mozilla's intermediate profile, $name: nothing that it does not allow", async ({ key }) => {
    await using folder = await createFolder();
    const files = await followRecipe(folder.path, key);
    await using service = await startServing({
      DATABASE_URL: "postgres://nobody@127.0.0.1:1/none",
      TLS_CERT: files.certificate,
      TLS_KEY: files.key,
    });
    const said = await scan(`localhost:${service.port}`);
    expect(said).toContain(`Checking results against Mozilla's "intermediate" configuration`);
    const findings = Array.from(said.matchAll(/^ {8}\* (\w+): (.*)/gm), ([, kind = "", text]) => ({
      kind,
      text,
    }));
    // It has looked: otherwise nothing would be amiss, either.
    expect(findings.map(({ kind }) => kind)).toContain(notOurs[0]);
    expect(findings.filter(({ kind }) => !notOurs.includes(kind))).toEqual([]);
  });
});

/** @returns what it prints. Its exit code is 1 for anything amiss. */
function scan(server: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(sslyze.path, ["--mozilla_config=intermediate", server], (_error, stdout) => resolve(stdout));
  });
}
