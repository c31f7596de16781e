import type { Config } from "../config/config.ts";
import { serverTlsFiles } from "../config/files.ts";
import type { TlsOptions } from "../server/tls/tls.ts";
import { openTokens, type Tokens } from "../server/tokens.ts";
import type { Holds } from "../status/holds.ts";
import type { Log } from "../telemetry/log.ts";

/** How callers are authenticated, for the log line `listening`. */
export interface Access {
  readonly tls: "off" | "on" | "on, with callers' certificates";
  /** "everybody", or the number of tokens. */
  readonly callers: string;
}

export function describeAccess({ TLS_CERT, TLS_CLIENT_CA }: Config, tokens: Tokens | undefined): Access {
  const withCertificates = TLS_CLIENT_CA === undefined ? "on" : "on, with callers' certificates";
  return {
    tls: TLS_CERT === undefined ? "off" : withCertificates,
    callers: tokens === undefined ? "everybody" : `${tokens.size} token${tokens.size === 1 ? "" : "s"}`,
  };
}

/**
 * @param holds whose streams end when their tokens are removed.
 * @returns undefined when no call needs a token.
 * @throws TokensFileError
 */
export function openTokensOf(
  { AUTH_TOKENS_FILE: path }: Config,
  log: Log,
  holds: Pick<Holds, "endUnauthenticated">,
): Tokens | undefined {
  if (path === undefined) return undefined;
  const tokens = openTokens(path, (err) => {
    if (err !== undefined) {
      log.error({ err }, "the tokens file has changed and cannot be used: the old tokens stay in use");
      return;
    }
    log.info({ tokens: tokens.size }, "the tokens have changed");
    holds.endUnauthenticated(tokens.isKnown);
  });
  return tokens;
}

/** @returns undefined without TLS. */
export function tlsOptionsOf(config: Config, log: Log): TlsOptions | undefined {
  const files = serverTlsFiles(config);
  return (
    files && {
      files,
      onReload(err) {
        if (err === undefined) log.info("the certificates have changed");
        else
          log.error(
            { err },
            "the certificate files have changed and cannot be used: the old certificates stay in use",
          );
      },
    }
  );
}
