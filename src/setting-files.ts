import type { Config } from "./config.ts";
import { pathsOf, readCertificates, type TlsFiles, TlsFilesError } from "./protocols/certificates.ts";
import { readDigests, TokensFileError } from "./protocols/tokens.ts";
import { readNow } from "./protocols/watch-files.ts";
import type { SettingName } from "./settings.ts";

/** A file that a setting names is not what it should be. */
interface FileMistake {
  readonly name: SettingName;
  /** The rest of a sentence that begins with the file's path. */
  readonly problem: string;
}

const settingOf = {
  cert: "TLS_CERT",
  key: "TLS_KEY",
  clientCa: "TLS_CLIENT_CA",
} as const satisfies Record<keyof TlsFiles, SettingName>;

/** The files that TLS is served with. @returns undefined: without TLS. */
export function tlsFilesOf({ TLS_CERT, TLS_KEY, TLS_CLIENT_CA }: Config): TlsFiles | undefined {
  if (TLS_CERT === undefined || TLS_KEY === undefined) return undefined;
  return { cert: TLS_CERT, key: TLS_KEY, clientCa: TLS_CLIENT_CA };
}

/** Reads the files that are named, once, to see what is wrong with them. */
export function fileMistakes(config: Config): FileMistake[] {
  return [...tlsMistakes(tlsFilesOf(config)), ...tokensMistakes(config.AUTH_TOKENS_FILE)];
}

function tlsMistakes(files: TlsFiles | undefined): FileMistake[] {
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
