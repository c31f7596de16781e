import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { type ConnectionOptions, checkServerIdentity, getCACertificates, type SecureVersion } from "node:tls";
import type { TlsSettings } from "../url/target.ts";

/**
 * @param host that the certificate must be for, with `verify-full`.
 * @throws Node's error when a file cannot be read.
 */
export function tlsOptionsOf(tls: TlsSettings, host: string): ConnectionOptions {
  const { verify, crl, cert, key, passphrase, minVersion, maxVersion } = tls;
  const ca = authoritiesOf(tls.rootCert);
  return {
    rejectUnauthorized: verify !== "none",
    checkServerIdentity: (_name, shown) => (verify === "host" ? checkServerIdentity(host, shown) : undefined),
    ...(ca !== undefined && { ca }),
    ...(crl !== undefined && { crl: readFileSync(crl) }),
    ...(cert !== undefined && { cert: readFileSync(cert) }),
    ...(key !== undefined && { key: readFileSync(key) }),
    ...(passphrase !== undefined && { passphrase }),
    minVersion: (minVersion ?? "TLSv1.2") as SecureVersion,
    ...(maxVersion !== undefined && { maxVersion: maxVersion as SecureVersion }),
    // An address is no server name (RFC 6066, section 3).
    ...(tls.sni && isIP(host) === 0 && { servername: host }),
    ALPNProtocols: ["postgresql"],
  };
}

/** @returns undefined for the CAs that Node knows. */
function authoritiesOf(rootCert: string | undefined): Buffer | string[] | undefined {
  if (rootCert === undefined) return undefined;
  if (rootCert !== "system") return readFileSync(rootCert);
  const authorities = getCACertificates("system");
  if (authorities.length === 0) throw new Error("sslrootcert=system: this system has no CA certificates");
  return authorities;
}
