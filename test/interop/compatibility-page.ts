/** The result of one test of `npm run test:interop`. */
export interface CompatibilityResult {
  /** The tool with its version: the outermost `describe`. */
  readonly client: string;
  /** The names of the test, from the outside in, without the client. */
  readonly names: readonly string[];
  readonly state: "passed" | "failed" | "skipped" | "pending";
  /** The number of cases of an external suite that stand behind the test. Absent: the test is one case. */
  readonly cases?: number;
}

const groups = ["REST", "Connect", "gRPC-Web", "gRPC", "TLS"] as const;
type Group = (typeof groups)[number];

const head = `# Compatibility

For those who choose a client or a proxy: which ones work with the service, in which versions and over which protocols. After
reading, you know whether yours was tested, and what was tried with it. Written by \`npm run test:interop\`, which runs each client as
it is published against the service and its PostgreSQL; do not edit.

The cells count cases: \`12\` means that all 12 passed, \`11 of 12\` that one did not. A hyphen means that there is no such case.
`;

/** Composes docs/evidence/compatibility.md: the matrix of tools and protocols, then every case. */
export function compatibilityPage(results: readonly CompatibilityResult[]): string {
  const clients = [...new Set(results.map(({ client }) => client))];
  const matrix = clients
    .toSorted((a, b) => a.localeCompare(b, "en"))
    .map((client) => {
      const own = results.filter((result) => result.client === client);
      return row(client, ...groups.map((group) => cell(own.filter((result) => groupOf(result) === group))));
    });
  const cases = results.map((result) => row(result.client, result.names.join(": "), describeResult(result)));
  return [
    head,
    row("client or proxy", ...groups),
    row("---", ...groups.map(() => "--:")),
    ...matrix,
    "\n## Every case\n",
    row("client", "case", "result"),
    row("---", "---", "---"),
    ...cases,
    "",
  ].join("\n");
}

/** The protocol that a test names first; otherwise the one that the tool is for. */
function groupOf({ client, names }: CompatibilityResult): Group {
  const named = /gRPC-Web|gRPC|Connect|REST|\bTLS\b|intermediate profile/.exec(names.join(": "))?.[0];
  if (named === "intermediate profile") return "TLS";
  if (named !== undefined) return named as Group;
  return /^grpc/i.test(client) ? "gRPC" : "REST";
}

function cell(results: readonly CompatibilityResult[]): string {
  if (results.length === 0) return "-";
  const tried = results.filter(({ state }) => state !== "skipped");
  if (tried.length === 0) return "skipped";
  const count = (some: readonly CompatibilityResult[]) =>
    some.reduce((sum, { cases = 1 }) => sum + cases, 0).toLocaleString("en");
  const passed = tried.filter(({ state }) => state === "passed");
  return passed.length === tried.length ? count(tried) : `**${count(passed)} of ${count(tried)}**`;
}

function describeResult({ state, cases }: CompatibilityResult): string {
  if (state === "passed") return cases === undefined ? "passes" : `passes: ${cases} cases, no known failures`;
  return state === "skipped" ? "skipped (INTEROP_SKIP)" : "**fails**";
}

function row(...cells: readonly string[]): string {
  return `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
}
