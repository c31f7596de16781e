import { generate } from "selfsigned";

/** A certificate and its private key, in PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Signs certificates. */
export interface Authority {
  /** Its own certificate, in PEM. */
  readonly cert: string;
  /** @param names DNS names and IPv4 addresses of a server. For a client they have no meaning. */
  issue(commonName: string, ...names: string[]): Promise<Certificate>;
}

const common = { keyType: "ec", algorithm: "sha256" } as const;

/** A certificate authority of a test's own. */
export async function createAuthority(commonName: string): Promise<Authority> {
  const ca = await generate([{ name: "commonName", value: commonName }], {
    ...common,
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
  return {
    cert: ca.cert,
    async issue(subject, ...names) {
      const issued = await generate([{ name: "commonName", value: subject }], {
        ...common,
        ca: { cert: ca.cert, key: ca.private },
        extensions: [
          { name: "basicConstraints", cA: false, critical: true },
          { name: "keyUsage", digitalSignature: true, critical: true },
          { name: "extKeyUsage", serverAuth: true, clientAuth: true },
          {
            name: "subjectAltName",
            altNames: names.map((name) =>
              /^[\d.]+$/.test(name) ? { type: 7, ip: name } : { type: 2, value: name },
            ),
          },
        ],
      });
      return { cert: issued.cert, key: issued.private };
    },
  };
}
