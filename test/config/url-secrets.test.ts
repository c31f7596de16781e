import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError, readConfig } from "../../src/config/config.ts";
import { redactConfig, redactUrl } from "../../src/config/redact.ts";
import { startTestApp } from "../support/app.ts";

// A password that is not percent-encoded may be split by the URL. Neither part is shown.

/** What is shown of settings: their mistakes, or the settings as they are logged. */
function shownOf(env: Readonly<Record<string, string>>): string {
  try {
    return JSON.stringify(redactConfig(readConfig(env, "serve")));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message;
  }
}

/** Every part of a password that is long enough to be recognised. */
function partsOf(password: string): string[] {
  return Array.from({ length: Math.max(password.length - 2, 0) }, (_, at) => password.slice(at, at + 3));
}

/** Its letters are in no word that is shown. */
const passwords = fc
  .array(
    fc.constantFrom(
      "X",
      "Q",
      "Z",
      "@",
      "/",
      "?",
      "#",
      ":",
      "%",
      "&",
      "=",
      "[",
      "]",
      "\\",
      "+",
      ",",
      "4",
      "0",
    ),
    {
      minLength: 3,
      maxLength: 24,
    },
  )
  .map((letters) => letters.join(""))
  .filter((password) => /[XQZ]/.test(password));

const urls = {
  DATABASE_URL: [
    (password: string) => `postgres://app:${password}@host/db`,
    (password: string) => `postgres://app:${password}@host:5433,other/db?sslmode=require`,
    (password: string) => `postgres://host/db?password=${password}`,
    (password: string) => `postgres://host/db?password=${password}&user=app`,
    (password: string) => `postgres://host/db?user=app&password=${encodeURIComponent(password)}`,
    (password: string) => `postgresql://app:${encodeURIComponent(password)}@host/db`,
  ],
  STATUS_URL: [
    (password: string) => `https://app:${password}@host/path`,
    (password: string) => `http://app:${encodeURIComponent(password)}@host/path`,
    (password: string) => `ftp://app:${password}@host/path`,
    (password: string) => `http://host/path?token=${password}`,
  ],
};

describe.for(Object.entries(urls))("nothing of a password in %s is shown", ([name, forms]) => {
  test.for(forms.map((form) => ({ example: form("<password>"), form })))("$example", ({ form }) => {
    fc.assert(
      fc.property(passwords, (password) => {
        const shown = shownOf({ [name]: form(password) });
        for (const part of partsOf(password)) {
          // A part may be in a word that stands there anyway: "://", say.
          if (/[XQZ]/.test(part)) expect(shown).not.toContain(part);
        }
      }),
      { numRuns: 500 },
    );
  });
});

test.for([
  "postgres://app:aXQ@bXQ/cXQ#dXQ@127.0.0.1:1/db",
  "postgres://app:aXQ@bXQ.invalid/cXQ#dXQ@127.0.0.1:1/db",
  "postgres://app:1/bXQ@127.0.0.1:1/db",
  "postgres://app:aXQ%40bXQ@127.0.0.1:1/db?password=cXQ",
])("nor is it by the service that starts on %s", async (url) => {
  let shown: string;
  try {
    await using app = await startTestApp({ DATABASE_URL: url });
    shown = JSON.stringify(app.logs);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    shown = error.message;
  }
  expect(shown).not.toMatch(/[a-d]XQ/i);
});

test("the URL in the errors of `get` holds no secret", () => {
  fc.assert(
    fc.property(passwords, (password) => {
      for (const form of [...urls.STATUS_URL, ...urls.DATABASE_URL]) {
        const shown = redactUrl(form(password));
        for (const part of partsOf(password)) if (/[XQZ]/.test(part)) expect(shown).not.toContain(part);
      }
    }),
  );
});
