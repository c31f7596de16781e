import { pathsOf, readCertificates, type TlsFiles, TlsFilesError } from "../server/tls/certificates.ts";
import { readDigests, TokensFileError } from "../server/tokens.ts";
import { readNow } from "../server/watched-files.ts";
import type { SettingName } from "./settings.ts";

/** A setting names a file that does not hold what it should. */
interface FileMistake {
  readonly name: SettingName;
  /** The rest of a sentence that begins with the file's path. */
  readonly problem: string;
}

/** Settings that name files: their paths. */
type Paths<N extends SettingName> = { readonly [Name in N]: string | undefined };

type ServerTls = Paths<"TLS_CERT" | "TLS_KEY" | "TLS_CLIENT_CA">;
type ClientTls = Paths<"STATUS_CLIENT_CERT" | "STATUS_CLIENT_KEY">;

/** @returns the files that the service serves TLS with. Undefined: no TLS. */
export function serverTlsFiles({ TLS_CERT, TLS_KEY, TLS_CLIENT_CA }: ServerTls): TlsFiles | undefined {
  if (TLS_CERT === undefined || TLS_KEY === undefined) return undefined;
  return { cert: TLS_CERT, key: TLS_KEY, clientCa: TLS_CLIENT_CA };
}

/** @returns the files of the certificate that `get` presents. Undefined: it presents none. */
export function clientTlsFiles({ STATUS_CLIENT_CERT, STATUS_CLIENT_KEY }: ClientTls): TlsFiles | undefined {
  if (STATUS_CLIENT_CERT === undefined || STATUS_CLIENT_KEY === undefined) return undefined;
  return { cert: STATUS_CLIENT_CERT, key: STATUS_CLIENT_KEY };
}

/** Reads the files that `serve` uses. @returns what is wrong with them. */
export function serverFileMistakes(paths: ServerTls & Paths<"AUTH_TOKENS_FILE">): FileMistake[] {
  const names = { cert: "TLS_CERT", key: "TLS_KEY", clientCa: "TLS_CLIENT_CA" } as const;
  return [...tlsMistakes(serverTlsFiles(paths), names), ...tokensMistakes(paths.AUTH_TOKENS_FILE)];
}

/** Reads the files that `get` uses. @returns what is wrong with them. */
export function clientFileMistakes(paths: ClientTls): FileMistake[] {
  // The CAs of servers are Node's: NODE_EXTRA_CA_CERTS.
  const names = { cert: "STATUS_CLIENT_CERT", key: "STATUS_CLIENT_KEY" } as const;
  return tlsMistakes(clientTlsFiles(paths), names);
}

function tlsMistakes(
  files: TlsFiles | undefined,
  names: Readonly<Record<"cert" | "key", SettingName> & Partial<Record<"clientCa", SettingName>>>,
): FileMistake[] {
  if (files === undefined) return [];
  try {
    readCertificates(files, pathsOf(files).map(readNow));
    return [];
  } catch (error) {
    if (!(error instanceof TlsFilesError)) throw error;
    return error.problems.map(({ file, problem }) => ({ name: names[file] ?? names.cert, problem }));
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
