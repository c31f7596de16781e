import type { HttpRequest } from "./http.ts";

/**
 * `uri-host [ ":" port ]` (RFC 9110, section 7.2), or nothing where the request names no host (RFC 9112, section 3.2). RFC 3986
 * allows a comma in a name, which is refused here: two Host headers that a proxy has joined have one.
 */
const hostPattern = /^(?:\[[\w:.%~-]+\]|(?:[\w.~!$&'()*+;=-]|%[\da-f]{2})*)(?::\d*)?$/i;

let lastHost = "";

/** @returns whether it is a host that a request may name. The callers of a connection name the same again and again. */
export function isHost(text: string): boolean {
  if (text === lastHost) return true;
  if (!hostPattern.test(text)) return false;
  lastHost = text;
  return true;
}

/** `absolute-form` (RFC 9112, section 3.2.2): the host, and what is behind it. */
const absoluteForm = /^https?:\/\/([^/?#]+)(.*)$/is;

/**
 * Has a request name its path, with the query, in `url`, and its host in `:authority` or Host: what a target in absolute form
 * names is put there.
 *
 * @returns whether the target and the host are well-formed. If not, the answer is 400 (RFC 9112, section 3.2).
 */
export function resolveTarget(request: HttpRequest): boolean {
  const isHttp2 = "stream" in request;
  if (!(isHttp2 ? isHost(request.authority ?? "") : namesOneHost(request))) return false;
  const { url = "" } = request;
  // The asterisk stands for the whole server (RFC 9112, section 3.2.4).
  if (url.startsWith("/") || url === "*") return true;
  const [, host = "", rest = ""] = absoluteForm.exec(url) ?? [];
  // A user name in a target is there to mislead (RFC 9110, section 4.2.4): "@" is in no host.
  if (host === "" || !isHost(host)) return false;
  request.url = rest.startsWith("/") ? rest : `/${rest}`;
  request.headers[isHttp2 ? ":authority" : "host"] = host;
  return true;
}

/** Node keeps the first of several Host headers. HTTP/1.0 knows requests without one. */
function namesOneHost({ rawHeaders, httpVersion }: HttpRequest): boolean {
  let host: string | undefined;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    if (name.length !== 4 || name.toLowerCase() !== "host") continue;
    if (host !== undefined) return false;
    host = rawHeaders[at + 1] as string;
  }
  return host === undefined ? httpVersion === "1.0" : isHost(host);
}
