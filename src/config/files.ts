import { pathsOf, readCertificates, type TlsFiles, TlsFilesError } from "../server/tls/certificates.ts";
import { readDigests, TokensFileError } from "../server/tokens.ts";
import { readNow } from "../server/watched-files.ts";
import type { Command, Config } from "./config.ts";
import type { SettingName } from "./settings.ts";

/** A file that a setting names is not what it should be. */
interface FileMistake {
  readonly name: SettingName;
  /** The rest of a sentence that begins with the file's path. */
  readonly problem: string;
}

type SettingOf = Record<keyof TlsFiles, SettingName>;

const serverFiles: SettingOf = { cert: "TLS_CERT", key: "TLS_KEY", clientCa: "TLS_CLIENT_CA" };
const clientFiles: SettingOf = {
  cert: "STATUS_CLIENT_CERT",
  key: "STATUS_CLIENT_KEY",
  // A client has none: NODE_EXTRA_CA_CERTS is Node's.
  clientCa: "STATUS_CLIENT_CERT",
};

/** The files that TLS is served with. @returns undefined: without TLS. */
export function tlsFilesOf({ TLS_CERT, TLS_KEY, TLS_CLIENT_CA }: Config): TlsFiles | undefined {
  if (TLS_CERT === undefined || TLS_KEY === undefined) return undefined;
  return { cert: TLS_CERT, key: TLS_KEY, clientCa: TLS_CLIENT_CA };
}

/** The files of the certificate that `get` shows. @returns undefined: it shows none. */
export function clientFilesOf({ STATUS_CLIENT_CERT, STATUS_CLIENT_KEY }: Config): TlsFiles | undefined {
  if (STATUS_CLIENT_CERT === undefined || STATUS_CLIENT_KEY === undefined) return undefined;
  return { cert: STATUS_CLIENT_CERT, key: STATUS_CLIENT_KEY };
}

/** Reads the files that are named for a command, once, to see what is wrong with them. */
export function fileMistakes(config: Config, command: Command): FileMistake[] {
  if (command === "get") return tlsMistakes(clientFilesOf(config), clientFiles);
  if (command === "migrate") return [];
  return [...tlsMistakes(tlsFilesOf(config), serverFiles), ...tokensMistakes(config.AUTH_TOKENS_FILE)];
}

function tlsMistakes(files: TlsFiles | undefined, settingOf: SettingOf): FileMistake[] {
  if (files === undefined) return [];
  try {
    readCertificates(files, pathsOf(files).map(readNow));
    return [];
  } catch (error) {
    if (!(error instanceof TlsFilesError)) throw error;
    return error.problems.map(({ file, problem }) => ({ name: settingOf[file], problem }));
  }
}

function tokensMistakes(path: string | undefined): FileMistake[] {
  if (path === undefined) return [];
  try {
    readDigests(path, readNow(path));
    return [];
  } catch (error) {
    if (!(error instanceof TokensFileError)) throw error;
    return [{ name: "AUTH_TOKENS_FILE", problem: error.problem }];
  }
}
