import type pg from "pg";
import type { AuthMethod, Target } from "../url/target.ts";
import { internalsOf, onMessage } from "./pg-internals.ts";
import type { Transport } from "./transport.ts";

/** The server does not authenticate itself as it must, or asks for a password as it may not. It was sent none. */
export class AuthenticationRefused extends Error {
  override readonly name = "AuthenticationRefused";
  readonly code = "ERR_DATABASE_AUTHENTICATION";
}

/**
 * Enforces `require_auth` and `channel_binding`, as libpq does (check_expected_areq in fe-auth.c). What these listeners throw
 * ends the connection before the driver has answered the server.
 */
export function enforceAuthentication(
  client: pg.Client,
  transport: Transport,
  { requireAuth, channelBinding }: Target,
): void {
  const session = internalsOf(client);
  let method: AuthMethod = "none";

  function allow(requested: AuthMethod): void {
    method = requested;
    if (requireAuth !== undefined && !requireAuth.has(requested)) {
      throw new AuthenticationRefused(`the server asks for ${requested}, which require_auth does not allow`);
    }
    if (channelBinding === "require" && requested !== "scram-sha-256") {
      throw new AuthenticationRefused(
        `the server asks for ${requested}, which channel_binding=require does not allow`,
      );
    }
  }

  onMessage(transport, "authenticationCleartextPassword", () => allow("password"));
  onMessage(transport, "authenticationMD5Password", () => allow("md5"));
  onMessage(transport, "authenticationSASL", ({ mechanisms }) => {
    allow(mechanisms.some((mechanism) => mechanism.startsWith("SCRAM-SHA-256")) ? "scram-sha-256" : "oauth");
    session.enableChannelBinding = transport.encrypted && channelBinding !== "disable";
    if (channelBinding !== "require") return;
    if (!transport.encrypted) {
      throw new AuthenticationRefused("channel_binding=require wants TLS, and the connection is without");
    }
    if (!mechanisms.includes("SCRAM-SHA-256-PLUS")) {
      throw new AuthenticationRefused(
        "channel_binding=require wants SCRAM-SHA-256-PLUS, which the server does not offer",
      );
    }
  });
  onMessage(transport, "authenticationOk", () => {
    const isAuthenticated = method === "scram-sha-256" && session.saslSession === null;
    if (channelBinding === "require" && !isAuthenticated) {
      throw new AuthenticationRefused(
        "the server has not proven that it knows the password, which channel_binding=require wants it to",
      );
    }
    if (requireAuth === undefined || requireAuth.has("none")) return;
    if (method === "none" || (method === "scram-sha-256" && !isAuthenticated)) {
      throw new AuthenticationRefused(
        "the server admits the service without a password, which require_auth does not allow",
      );
    }
  });
}
