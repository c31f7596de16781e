import { Command, CommanderError } from "commander";
import manifest from "../package.json" with { type: "json" };
import { migrate, serve } from "./commands/serve.ts";
import { type Config, ConfigError, readConfig } from "./config/config.ts";
import type { Command as CommandName } from "./config/constraints.ts";
import { type SettingName, settings } from "./config/settings.ts";

/** argv → a command; what it says → the exit code. Everything that went wrong is told on standard error. */
async function main(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const run = async (name: CommandName, command: (config: Config) => Promise<number>) => {
    exitCode = await command(readConfig(process.env, name));
  };

  const program = new Command("gomemory-status")
    .description("What is the status of request X? Settings come from the environment alone.")
    .version(manifest.version)
    .exitOverride();
  program
    .command("serve")
    .description("Answer over REST, Connect, gRPC-Web and gRPC until SIGTERM, SIGINT, SIGHUP or SIGQUIT.")
    .addHelpText("after", helpOn())
    .action(() => run("serve", serve));
  program
    .command("migrate")
    .description("Bring the schema of the database up to this version.")
    .addHelpText("after", helpOn("DATABASE_URL", "DATABASE_CONNECT_TIMEOUT", "LOG_LEVEL", "NODE_ENV"))
    .action(() => run("migrate", migrate));
  program
    .command("get")
    .description("Ask a running server for one status and print it as JSON.")
    .argument("<reqid>", "the id that adding the memory returned")
    .addHelpText("after", `\n${exitCodesOfGet}\n${helpOn(...settingsOfGet)}`)
    .action(async (reqId: string) => {
      const { getStatus } = await import("./commands/get.ts");
      await run("get", (config) => getStatus(config, reqId));
    });

  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    // Commander has told already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return 2;
  }
}

const settingsOfGet: SettingName[] = [
  "STATUS_URL",
  "STATUS_TOKEN",
  "STATUS_CLIENT_CERT",
  "STATUS_CLIENT_KEY",
  "REQUEST_TIMEOUT",
];

/** For scripts. Kept as they are: somebody's script depends on them. */
const exitCodesOfGet = `Exit codes:
  0  the status was printed, whatever it is
  1  something unforeseen
  2  the id or the usage is wrong
  3  there is no status under this id: it is unknown or has expired
  4  the server, its database or a proxy did not answer: try again
  5  the server does not know the token or the certificate, or wants one`;

function helpOn(...names: SettingName[]): string {
  const shown = names.length > 0 ? names : (Object.keys(settings) as SettingName[]);
  const lines = shown.map((name) => {
    const { help, takes, default: preset } = settings[name];
    return `  ${name}\n      ${help}\n      Takes ${takes}.${preset === undefined ? "" : ` Default: ${preset}.`}`;
  });
  return `\nEnvironment:\n${lines.join("\n")}`;
}

process.exitCode = await main(process.argv);
