import type pg from "pg";
import type { AuthMethod, Target } from "../url/target.ts";
import type { Wire } from "./wire.ts";

/** The server does not prove what it must, or asks in a way that is not allowed. It was told no password. */
export class AuthenticationRefused extends Error {
  override readonly name = "AuthenticationRefused";
  readonly code = "ERR_DATABASE_AUTHENTICATION";
}

/** What pg's client has besides what its types tell. */
interface Authenticating {
  enableChannelBinding: boolean;
  /** An object while an exchange goes on; null once the server has proven that it knows the password. */
  saslSession?: object | null;
}

/**
 * Sees to `require_auth` and `channel_binding`, as libpq does (check_expected_areq in fe-auth.c). These listeners come before
 * the driver's, and what they throw ends the connection before the driver has answered: see {@link Wire.attachListeners}.
 */
export function demandProof(client: pg.Client, wire: Wire, { requireAuth, channelBinding }: Target): void {
  const session = client as unknown as Authenticating;
  let asked: AuthMethod = "none";

  function allow(method: AuthMethod): void {
    asked = method;
    if (requireAuth !== undefined && !requireAuth.has(method)) {
      throw new AuthenticationRefused(`the server asks for ${method}, which require_auth does not allow`);
    }
    if (channelBinding === "require" && method !== "scram-sha-256") {
      throw new AuthenticationRefused(
        `the server asks for ${method}, which channel_binding=require does not allow`,
      );
    }
  }

  wire.on("authenticationCleartextPassword", () => allow("password"));
  wire.on("authenticationMD5Password", () => allow("md5"));
  wire.on("authenticationSASL", ({ mechanisms }: { mechanisms: readonly string[] }) => {
    allow(mechanisms.some((mechanism) => mechanism.startsWith("SCRAM-SHA-256")) ? "scram-sha-256" : "oauth");
    session.enableChannelBinding = wire.encrypted && channelBinding !== "disable";
    if (channelBinding !== "require") return;
    if (!wire.encrypted) {
      throw new AuthenticationRefused("channel_binding=require wants TLS, and the connection is without");
    }
    if (!mechanisms.includes("SCRAM-SHA-256-PLUS")) {
      throw new AuthenticationRefused(
        "channel_binding=require wants SCRAM-SHA-256-PLUS, which the server does not offer",
      );
    }
  });
  wire.on("authenticationOk", () => {
    const isProven = asked === "scram-sha-256" && session.saslSession === null;
    if (channelBinding === "require" && !isProven) {
      throw new AuthenticationRefused("the server proves nothing, and channel_binding=require wants it to");
    }
    if (requireAuth === undefined || requireAuth.has("none")) return;
    if (asked === "none" || (asked === "scram-sha-256" && !isProven)) {
      throw new AuthenticationRefused(
        "the server lets everyone in, and require_auth wants it to ask for a password",
      );
    }
  });
}
