import { hash, randomBytes } from "node:crypto";
import { type Content, unreadable, watchFiles } from "./watched-files.ts";

/** The bearer tokens that authenticate callers. Only their SHA-256 digests are known. */
export interface Tokens extends Disposable {
  /** The number of tokens. */
  readonly size: number;
  /** The names of all tokens, including those that were removed from the file. */
  readonly names: ReadonlySet<string>;
  /** @param authorization the request header. @returns its token. Undefined: it bears no valid token. */
  accept(authorization: string | undefined): Token | undefined;
  /** @returns whether the list that is in use has a token, and under this name. */
  isKnown(key: string, name: string | undefined): boolean;
}

/** A token that is on the list. */
interface Token {
  readonly name: string;
  /** What identifies the token as long as the process runs. Neither the token nor its digest can be computed from it. */
  readonly key: string;
}

/** A file is no valid list of tokens. The message names the file and the problem, and shows nothing of the content. */
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
 *   begin with `#`, are ignored. A name may have several tokens, so that one can replace the other; a token has one name.
 * @param onReload called when a changed file is in use; with an error when it cannot be used, and the old list stays in use.
 * @throws TokensFileError
 */
export function openTokens(path: string, onReload: (error?: unknown) => void): Tokens {
  const watched = watchFiles([path], ([content = ""]) => {
    try {
      use(readDigests(path, content));
      onReload();
    } catch (error) {
      onReload(error);
    }
  });
  const secret = randomBytes(32).toString("hex");
  const names = new Set<string>();
  /** By the {@link lookupKey} of their digests. */
  let known: ReadonlyMap<string, Token>;
  // The time of a look-up may depend on the other keys in the map, and on the prefix that the key shares with one of them. A
  // caller without the secret cannot compute the key of a token, or choose tokens by their keys, so the time reveals nothing.
  // The secret and a digest have a fixed length, so that a hash over both is as safe as HMAC, in half of its time.
  const lookupKey = (digest: string) => hash("sha256", secret + digest, "base64");

  function use(digests: Digests): void {
    known = new Map(
      Array.from(digests, ([digest, name]) => {
        const key = lookupKey(digest);
        return [key, { name, key }];
      }),
    );
    for (const name of digests.values()) names.add(name);
  }

  use(readDigests(path, watched.contents[0] ?? ""));
  return {
    get size() {
      return known.size;
    },
    names,
    accept(authorization = "") {
      const [, token] = bearer.exec(authorization) ?? [];
      return token === undefined ? undefined : known.get(lookupKey(hash("sha256", token, "hex")));
    },
    isKnown: (key, name) => known.get(key)?.name === name,
    [Symbol.dispose]: () => watched[Symbol.dispose](),
  };
}

/** RFC 6750, section 2.1; the scheme is case-insensitive (RFC 9110, section 11.1). */
const bearer = /^bearer +([\w.~+/-]+=*) *$/i;

const line = /^([^:]*[^:\s])\s*:([0-9a-f]{64})$/i;

/** The names of tokens by their digests, in lower-case hexadecimal. */
type Digests = ReadonlyMap<string, string>;

/** @throws TokensFileError. An empty list is none: a file that is being written is empty at first. */
export function readDigests(path: string, content: Content): Digests {
  if (typeof content !== "string") throw new TokensFileError(path, unreadable(content));
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
