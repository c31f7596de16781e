import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Checkout, openCheckout, problemOf } from "./checkout.ts";
import { comparison, defaultRows } from "./plan.ts";

export const usage = `npm run bench -- [--quick] [--rows N] [--rounds N] [--only TEXT] [--beside FOLDER]
npm run bench -- --against FOLDER [--rows N] [--rounds N]

  --quick           one round with short windows, about two minutes: a first impression, not a result
  --rows N          rows in the table; more than ${defaultRows} also compares the service with that many (default ${defaultRows})
  --rounds N        interleaved rounds (default 5, with --quick 1, with --against ${comparison.rounds})
  --only TEXT       only servers whose name contains the text, may be repeated; nothing is written to bench/results/
  --beside FOLDER   also the service in another checkout of this repository, after \`npm ci\` there: before and after in one run
  --against FOLDER  only this service, compared with the one in another checkout of this repository, such as a
                    \`git worktree\` of the commit that a change started from, after \`npm ci\` there; under ten minutes
`;

export interface Options {
  readonly help: boolean;
  readonly quick: boolean;
  readonly rows: number;
  /** Undefined: the default of the kind of run. */
  readonly rounds: number | undefined;
  readonly only: readonly string[] | undefined;
  readonly beside: Checkout | undefined;
  readonly against: Checkout | undefined;
}

/** @throws Error that names the option, the value it got and the values it takes. */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      rows: { type: "string", default: `${defaultRows}` },
      rounds: { type: "string" },
      only: { type: "string", multiple: true },
      beside: { type: "string" },
      against: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  const { help, quick, only, beside, against } = values;
  const without = Object.entries({ "--quick": quick || undefined, "--only": only, "--beside": beside });
  const [unused] = without.find(([, value]) => value !== undefined) ?? [];
  if (against !== undefined && unused !== undefined) {
    throw new Error(
      `--against takes --rows and --rounds beside it: it got ${unused}, which has no effect there`,
    );
  }
  return {
    help,
    quick,
    only,
    rows: wholeNumber("--rows", values.rows),
    rounds: values.rounds === undefined ? undefined : wholeNumber("--rounds", values.rounds),
    beside: beside === undefined ? undefined : otherCheckout("--beside", beside),
    against: against === undefined ? undefined : otherCheckout("--against", against),
  };
}

function otherCheckout(option: string, text: string): Checkout {
  // npm runs scripts in the package's root, and puts the caller's folder into INIT_CWD.
  const folder = resolve(process.env.INIT_CWD ?? process.cwd(), text);
  const problem = problemOf(folder);
  if (problem !== undefined) {
    throw new Error(
      `${option} takes the folder of another checkout of this repository: it got ${JSON.stringify(text)}, which ${problem}`,
    );
  }
  return openCheckout(folder);
}

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`${name} takes a whole number from 1 on: it got ${text}`);
  return Number(text);
}
