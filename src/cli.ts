// argv → a command. Every command loads its own modules. Those without options that processes of a deployment run are known here:
// `serve`, whose start would be longer by the parser of options, and `health`, which containers run every few seconds.

const { argv, env } = process;
const command = argv.length === 3 ? argv[2] : undefined;
if (command === "health") {
  const { checkHealth } = await import("./commands/health.ts");
  process.exitCode = await checkHealth(env);
} else if (command === "serve") {
  const { runCommand } = await import("./commands/run-command.ts");
  const { serve } = await import("./commands/serve.ts");
  process.exitCode = await runCommand("serve", serve);
} else {
  const { runProgram } = await import("./commands/program.ts");
  process.exitCode = await runProgram(argv);
}
