/** Commands that the tests of the documentation do not run: how each begins, and why. */
export const commandsNotRun: readonly { readonly begins: string; readonly reason: string }[] = [
  { begins: "docker ", reason: "needs Docker: test/repository/image.test.ts replays the Dockerfile" },
  { begins: "npm ci", reason: "replaces the packages that the tests run on: the gate begins with it" },
  { begins: "npm run check", reason: "the gate runs it" },
  { begins: "npm test", reason: "would run this test again: the gate runs it" },
  { begins: "npx vitest run test/", reason: "would run tests within tests" },
  { begins: ".ci/run", reason: "is the gate" },
  {
    begins: "npm run demo",
    reason: "runs until it is stopped: test/repository/demo.test.ts starts the demo",
  },
  { begins: "npm run bench", reason: "takes minutes, and a machine of its own" },
  { begins: "git worktree add", reason: "changes the repository" },
  { begins: "npx buf generate --template bench", reason: "writes files of the repository" },
  { begins: "npx buf build proto", reason: "writes the released contract" },
];

/** Blocks that this folder does not run: words of each, and where it is run or why it cannot be. */
export const blocksNotRun: readonly { readonly holds: string; readonly reason: string }[] = [
  { holds: "/** Asks for the status", reason: "test/protocols/retries.test.ts runs it" },
  { holds: "// @grpc/grpc-js", reason: "test/protocols/retries.test.ts gives grpc-js the service config" },
  { holds: "// grpc-go", reason: "test/interop/grpc-stacks.test.ts gives grpc-go the service config" },
  { holds: "# grpcio", reason: "test/interop/grpc-stacks.test.ts gives grpcio the service config" },
  { holds: "/** Waits until a request", reason: "test/docs/waiting.test.ts runs it" },
  { holds: "/** Reports the states", reason: "test/docs/waiting.test.ts runs it" },
  { holds: "// watchStatuses reports", reason: "needs Go: test/interop/watch-examples.test.ts runs it" },
  { holds: "def watch_statuses", reason: "needs grpcio: test/interop/watch-examples.test.ts runs it" },
  { holds: "new EventSource", reason: "test/interop/browser.test.ts follows a request by EventSource" },
  { holds: "createConnectTransport", reason: "test/interop/browser.test.ts runs connect-web in a browser" },
  {
    holds: "from gomemory import",
    reason: "needs a package of PyPI: test/interop/python-sdk.test.ts runs it",
  },
];
