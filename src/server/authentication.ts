import type { IncomingHttpHeaders } from "node:http";
import type { CallInfo } from "../protocols/call-info.ts";
import type { Tokens } from "./tokens.ts";

/**
 * Notes who the caller is, and whether it may ask.
 *
 * @param path the one that requests are routed by.
 */
export type Authenticate = (
  info: CallInfo,
  path: string,
  request: { readonly headers: IncomingHttpHeaders },
) => void;

/** Without tokens, every caller may ask, and none has a name. */
export const anyCaller: Authenticate = () => {};

/**
 * Admits callers that bear a token.
 *
 * @param open the paths that are open to every caller, if the path of the request is one of them to the letter.
 */
export function callersWithToken(tokens: Pick<Tokens, "accept">, open: ReadonlySet<string>): Authenticate {
  return (info, path, { headers }) => {
    info.caller = tokens.accept(headers.authorization);
    info.isAdmitted = info.caller !== undefined || open.has(path);
  };
}
