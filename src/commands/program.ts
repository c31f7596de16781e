import { Command, CommanderError } from "commander";
import manifest from "../../package.json" with { type: "json" };
import type { PurgeCommand } from "../app/purge.ts";
import { exitCodes } from "./exit-codes.ts";
import { helpOn } from "./help.ts";
import { batchOption, olderThanOption } from "./purge-options.ts";
import { runCommand } from "./run-command.ts";

/** argv → a command. @returns the exit code. Errors of the usage are printed on standard error. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  let exitCode: number = exitCodes.success;

  const program = new Command("gomemory-status")
    .description("What is the status of request X? Settings come from the environment alone.")
    .version(manifest.version)
    .exitOverride();
  program
    .command("serve")
    .description("Answer over REST, Connect, gRPC-Web and gRPC until SIGTERM, SIGINT, SIGHUP or SIGQUIT.")
    .addHelpText("after", () => helpOn("serve"))
    .action(async () => {
      const { serve } = await import("./serve.ts");
      exitCode = await runCommand("serve", serve);
    });
  program
    .command("migrate")
    .description("Bring the schema of the database up to this version.")
    .addHelpText("after", () => helpOn("migrate"))
    .action(async () => {
      const { migrate } = await import("./migrate.ts");
      exitCode = await runCommand("migrate", migrate);
    });
  program
    .command("purge")
    .description("Delete the jobs that are too old to be read, in batches.")
    .addOption(olderThanOption)
    .addOption(batchOption)
    .option("--dry-run", "count what would be deleted, and delete nothing")
    .addHelpText("after", () => helpOn("purge"))
    .action(async (options: PurgeCommand) => {
      const { purge } = await import("./purge.ts");
      exitCode = await runCommand("purge", (config) => purge(config, options));
    });
  program
    .command("get")
    .description("Ask a running server for one status and print it as JSON.")
    .argument("<reqid>", "the id that adding the memory returned")
    .addHelpText("after", () => helpOn("get"))
    .action(async (reqId: string) => {
      const { getStatus } = await import("./get.ts");
      exitCode = await runCommand("get", (config) => getStatus(config, reqId));
    });
  program
    .command("health")
    .description("Ask the service on this machine whether it is alive.")
    .addHelpText("after", () => helpOn("health"))
    .action(async () => {
      const { checkHealth } = await import("./health.ts");
      exitCode = await checkHealth(process.env);
    });

  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Commander has printed it.
    return error.exitCode === 0 ? exitCodes.success : exitCodes.usage;
  }
}
