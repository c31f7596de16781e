import { type Setting, type SettingName, settings } from "../config/settings.ts";
import { exitCodeMeanings, exitCodes } from "./exit-codes.ts";

/** The settings that each command uses, in the order in which its help lists them. */
const settingsOf = {
  serve: Object.keys(settings) as SettingName[],
  migrate: ["DATABASE_URL", "DATABASE_URL_FILE", "DATABASE_CONNECT_TIMEOUT", "LOG_LEVEL", "NODE_ENV"],
  purge: ["DATABASE_URL", "DATABASE_URL_FILE", "DATABASE_CONNECT_TIMEOUT", "LOG_LEVEL", "NODE_ENV"],
  get: ["STATUS_URL", "STATUS_TOKEN", "STATUS_CLIENT_CERT", "STATUS_CLIENT_KEY", "REQUEST_TIMEOUT"],
  health: ["HOST", "PORT", "TLS_CERT", "TLS_CLIENT_CA"],
} as const satisfies Record<keyof typeof exitCodeMeanings, readonly SettingName[]>;

/** @returns what follows the usage of a command in its `--help`: the exit codes, and the settings that it uses. */
export function helpOn(command: keyof typeof settingsOf): string {
  const codes = Object.entries<string>(exitCodeMeanings[command]).map(
    ([name, meaning]) => `  ${exitCodes[name as keyof typeof exitCodes]}  ${meaning}`,
  );
  const used: readonly SettingName[] = settingsOf[command];
  const isTuning = (name: SettingName) => (settings[name] as Setting<unknown>).tuning === true;
  const tuning = used.filter(isTuning);
  const sections = [
    section("Exit codes", codes),
    section("Environment", used.filter((name) => !isTuning(name)).map(describe)),
    tuning.length > 0 &&
      section(
        "Tuning (defaults chosen by measurement: few deployments gain by others)",
        tuning.map(describe),
      ),
  ];
  return sections.filter((it) => it !== false).join("");
}

function section(title: string, lines: readonly string[]): string {
  return `\n${title}:\n${lines.join("\n")}\n`;
}

function describe(name: SettingName): string {
  const { help, takes, default: preset } = settings[name];
  return `  ${name}\n      ${help}\n      Takes ${takes}.${preset === undefined ? "" : ` Default: ${preset}.`}`;
}
