import { hash, randomBytes } from "node:crypto";
import { type Content, watchFiles } from "./watched-files.ts";

/** Who may ask: the bearers of these tokens, of which only digests are known. */
export interface Tokens extends Disposable {
  /** How many there are. */
  readonly size: number;
  /** Of all of them, those that have been taken off the list included. */
  readonly names: ReadonlySet<string>;
  /** @param authorization the header of a request. @returns the name of the token that it bears, if that is known. */
  accept(authorization: string | undefined): string | undefined;
}

/** A file holds no list of tokens. The message names it and says why, and shows nothing of its content. */
export class TokensFileError extends Error {
  override readonly name = "TokensFileError";
  /** The rest of a sentence that begins with the file's path. */
  readonly problem: string;

  constructor(path: string, problem: string) {
    super(`${path} ${problem}`);
    this.problem = problem;
  }
}

/**
 * @param path of a file with a line `name:sha256` for each token, the digest in hexadecimal. Empty lines, and those that
 *   begin with `#`, do not count. A name may have several tokens, of which one replaces the other; a token has one name.
 * @param onReload told when the changed file was taken into use; with an error, when it was not, and the old list stays.
 * @throws TokensFileError
 */
export function openTokens(path: string, onReload: (error?: unknown) => void): Tokens {
  const watched = watchFiles([path], ([content = ""]) => {
    try {
      take(readDigests(path, content));
      onReload();
    } catch (error) {
      onReload(error);
    }
  });
  const key = randomBytes(32).toString("hex");
  const names = new Set<string>();
  /** Names by what {@link lookupOf} makes of digests. */
  let known: ReadonlyMap<string, string>;
  // How long it takes to look up a text may depend on which others there are, and how much of one it shares. But nobody who
  // lacks the key can tell which text becomes of a token, or choose tokens by it: the time tells nothing. Both the key and a
  // digest have a fixed length, so that a hash over both keeps the key as well as HMAC would, in half of its time.
  const lookupOf = (digest: string) => hash("sha256", key + digest, "base64");

  function take(digests: Digests): void {
    known = new Map(Array.from(digests, ([digest, name]) => [lookupOf(digest), name]));
    for (const name of digests.values()) names.add(name);
  }

  take(readDigests(path, watched.contents[0] ?? ""));
  return {
    get size() {
      return known.size;
    },
    names,
    accept(authorization = "") {
      const [, token] = bearer.exec(authorization) ?? [];
      return token === undefined ? undefined : known.get(lookupOf(hash("sha256", token, "hex")));
    },
    [Symbol.dispose]: () => watched[Symbol.dispose](),
  };
}

/** RFC 6750, section 2.1; the scheme's case does not matter (RFC 9110, section 11.1). */
const bearer = /^bearer +([\w.~+/-]+=*) *$/i;

const line = /^([^:]*[^:\s])\s*:([0-9a-f]{64})$/i;

/** The names of tokens by their digests, in lower-case hexadecimal. */
type Digests = ReadonlyMap<string, string>;

/** @throws TokensFileError. A list of nobody is no list: a file that is being written is empty at first. */
export function readDigests(path: string, content: Content): Digests {
  if (typeof content !== "string") throw new TokensFileError(path, `cannot be read (${content.code})`);
  const names = new Map<string, string>();
  for (const [index, text] of content.split("\n").entries()) {
    const entry = text.trim();
    if (entry === "" || entry.startsWith("#")) continue;
    const [, name, digest = ""] = line.exec(entry) ?? [];
    if (name === undefined) {
      throw new TokensFileError(
        path,
        `has something else in line ${index + 1} (want name:sha256, in hexadecimal)`,
      );
    }
    const other = names.get(digest.toLowerCase());
    if (other !== undefined && other !== name) {
      throw new TokensFileError(
        path,
        `has the token of an earlier line under another name in line ${index + 1}`,
      );
    }
    names.set(digest.toLowerCase(), name);
  }
  if (names.size === 0) throw new TokensFileError(path, "holds no token");
  return names;
}
