import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { type Content, unreadable } from "../watched-files.ts";
import { tlsProfile } from "./profile.ts";

/** The paths of the files for TLS, all of them in PEM. */
export interface TlsFiles {
  /** The certificate, followed by the intermediate certificates that lead to its CA. */
  readonly cert: string;
  /** The certificate's private key. */
  readonly key: string;
  /** The CAs of client certificates. Undefined: clients need no certificate. */
  readonly clientCa?: string | undefined;
}

interface TlsFileProblem {
  readonly file: keyof TlsFiles;
  /** The rest of a sentence that begins with the file's path. It shows nothing of the content. */
  readonly problem: string;
}

/** The files cannot be used for TLS. */
export class TlsFilesError extends Error {
  override readonly name = "TlsFilesError";
  readonly problems: readonly TlsFileProblem[];

  constructor(files: TlsFiles, problems: readonly TlsFileProblem[]) {
    super(problems.map(({ file, problem }) => `${files[file]} ${problem}`).join(", "));
    this.problems = problems;
  }
}

/** @returns the paths, in the order in which {@link readCertificates} takes the contents. */
export function pathsOf({ cert, key, clientCa }: TlsFiles): string[] {
  return clientCa === undefined ? [cert, key] : [cert, key, clientCa];
}

/**
 * @param contents of the files, in the order of {@link pathsOf}.
 * @throws TlsFilesError for files that cannot be read or hold no PEM of their kind, and for a key of another certificate.
 */
export function readCertificates(files: TlsFiles, contents: readonly Content[]): SecureContextOptions {
  const problems: TlsFileProblem[] = [];

  function read<T>(file: keyof TlsFiles, content: Content, parse: (pem: string) => T, holds: string) {
    if (typeof content !== "string") {
      problems.push({ file, problem: unreadable(content) });
      return undefined;
    }
    try {
      return parse(content);
    } catch {
      problems.push({ file, problem: `holds no ${holds} in PEM` });
      return undefined;
    }
  }

  const [cert = "", key = "", ca] = contents;
  const certificate = read("cert", cert, parseCertificate, "certificate");
  const privateKey = read("key", key, parseKey, "private key without a passphrase");
  if (ca !== undefined) read("clientCa", ca, parseCertificate, "certificate");
  if (certificate && privateKey && !certificate.checkPrivateKey(privateKey)) {
    problems.push({ file: "key", problem: "is not the key of the certificate" });
  }
  if (problems.length > 0) throw new TlsFilesError(files, problems);

  // Every content is a string: otherwise, its problem was thrown above.
  const options = {
    cert,
    key,
    ...(ca !== undefined && { ca }),
    ...tlsProfile,
  } as SecureContextOptions;
  try {
    createSecureContext(options);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new TlsFilesError(files, [{ file: "cert", problem: `is refused by OpenSSL (${code})` }]);
  }
  return options;
}

function parseCertificate(pem: string): X509Certificate {
  return new X509Certificate(pem);
}

function parseKey(pem: string): KeyObject {
  return createPrivateKey(pem);
}
