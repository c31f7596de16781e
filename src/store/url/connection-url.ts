/** A URL that cannot be read as libpq reads it. The message repeats nothing of the URL, which may hold a password. */
export class ConnectionUrlError extends Error {
  override readonly name = "ConnectionUrlError";
}

/** What to do about a URL whose parts cannot be distinguished. */
export const encodeCredentials =
  "it is ambiguous: percent-encode whatever user and password have of : / ? # @ [ ] \\ % and spaces (%40 for @)";

/** Whether a URL can be read in two ways, one of which takes a part of the password for a host, a path or a query. */
export function isAmbiguous(url: string): boolean {
  const rest = url.replace(/^[a-z]+:\/\//i, "");
  const at = rest.lastIndexOf("@");
  return /[@/?#\\]/.test(rest.slice(0, Math.max(at, 0)));
}

/**
 * Reads a connection URI as libpq does (PostgreSQL's documentation, "Connection URIs", and conninfo_uri_parse_options): a
 * parameter that is given twice counts as it is given last, and a `+` is a plus. Stricter than libpq in one respect: a
 * URL that is ambiguous, since its password is not encoded, is refused.
 *
 * @returns the parameters by their key words. The names are not checked, nor are the values.
 * @throws ConnectionUrlError
 */
export function parseConnectionUrl(url: string): Map<string, string> {
  const [, rest] = /^postgres(?:ql)?:\/\/(.*)$/s.exec(url) ?? [];
  if (rest === undefined)
    throw new ConnectionUrlError("it got something else, not shown since it may hold a secret");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that there are none is what this sees to.
  if (/[\x00-\x20\x7f]/.test(rest)) {
    throw new ConnectionUrlError("it has a space or a control character: percent-encode it (%20)");
  }
  if (isAmbiguous(url) || rest.includes("#")) throw new ConnectionUrlError(encodeCredentials);

  const [, credentials, authority = "", dbname, query] =
    /^(?:(.*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(rest) ?? [];
  const parameters = new Map<string, string>();
  const store = (name: string, value: string | undefined) => {
    if (value) parameters.set(name, decode(value));
  };
  const [, user, password] = /^([^:]*)(?::(.*))?$/.exec(credentials ?? "") ?? [];
  store("user", user);
  store("password", password);
  const addresses = authority.split(",").map(splitPort);
  store("host", list(addresses.map(({ host }) => host)));
  store("port", list(addresses.map(({ port }) => port)));
  store("dbname", dbname);
  for (const pair of query ? query.split("&") : []) {
    const [name, value, ...more] = pair.split("=");
    if (!name || value === undefined || more.length > 0) {
      throw new ConnectionUrlError(
        "what follows the ? must be parameters of the form name=value, with & between them",
      );
    }
    parameters.set(decode(name), decode(value));
  }
  return parameters;
}

/** @returns undefined when there is nothing in it. */
function list(elements: readonly string[]): string | undefined {
  return elements.some((element) => element !== "") ? elements.join(",") : undefined;
}

function splitPort(address: string): { host: string; port: string } {
  const [, ipv6, host, port = ""] = /^(?:\[([\da-f:.%]+)\]|([^:[\]]*))(?::(.*))?$/i.exec(address) ?? [];
  if (ipv6 === undefined && host === undefined) {
    throw new ConnectionUrlError("its host must be a name or an address, an IPv6 address in brackets");
  }
  if (!/^\d{0,5}$/.test(port)) throw new ConnectionUrlError("its port must be a number");
  return { host: ipv6 ?? host ?? "", port };
}

function decode(text: string): string {
  try {
    const decoded = decodeURIComponent(text);
    if (!decoded.includes("\0")) return decoded;
  } catch {}
  throw new ConnectionUrlError("it has a % that begins no character in UTF-8: write %25 for % itself");
}
