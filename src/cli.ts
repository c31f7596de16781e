// argv → a command. Every command loads its own modules, and `health`, which containers run every few seconds, nothing else.

const { argv, env } = process;
if (argv.length === 3 && argv[2] === "health") {
  const { checkHealth } = await import("./commands/health.ts");
  process.exitCode = await checkHealth(env);
} else {
  const { runProgram } = await import("./commands/program.ts");
  process.exitCode = await runProgram(argv);
}
