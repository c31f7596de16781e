import { execFile } from "node:child_process";
import { describe, expect, test } from "vitest";
import { createFolder } from "../support/folder.ts";
import { startServing } from "../support/process.ts";
import { followRecipe } from "./services.ts";
import { installPython } from "./tools.ts";

const sslyze = await installPython("sslyze", ["sslyze==6.3.1", "cryptography==46.0.7"], "sslyze");

/** A finding that every self-signed certificate causes: no CA that sslyze knows has signed it. */
const allowedFindings = ["certificate_path_validation"];

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
    const output = await scan(`localhost:${service.port}`);
    expect(output).toContain(`Checking results against Mozilla's "intermediate" configuration`);
    const findings = Array.from(output.matchAll(/^ {8}\* (\w+): (.*)/gm), ([, kind = "", text]) => ({
      kind,
      text,
    }));
    // The finding shows that sslyze has checked anything at all.
    expect(findings.map(({ kind }) => kind)).toContain(allowedFindings[0]);
    expect(findings.filter(({ kind }) => !allowedFindings.includes(kind))).toEqual([]);
  });
});

/** @returns sslyze's output. Its exit code is 1 when there are findings. */
function scan(server: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(sslyze.path, ["--mozilla_config=intermediate", server], (_error, stdout) => resolve(stdout));
  });
}
