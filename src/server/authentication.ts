import type { Authenticate } from "../protocols/begin-call.ts";
import type { Tokens } from "./tokens.ts";

/**
 * Admits calls whose headers bear a known token.
 *
 * @param open the paths that are open to every caller, if the path of the request is one of them to the letter.
 */
export function requireToken(tokens: Pick<Tokens, "accept">, open: ReadonlySet<string>): Authenticate {
  return (call, path, { authorization }) => {
    const token = tokens.accept(authorization);
    call.caller = token?.name;
    call.token = token?.key;
    return token !== undefined || open.has(path);
  };
}
