import { hash, timingSafeEqual } from "node:crypto";
import { type Content, watchFiles } from "./watch-files.ts";

/** Who may ask: the bearers of these tokens, of which only digests are known. */
export interface Tokens extends Disposable {
  /** How many there are. */
  readonly size: number;
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
 *   begin with `#`, do not count.
 * @param onReload told when the changed file was taken into use; with an error, when it was not, and the old list stays.
 * @throws TokensFileError
 */
export function openTokens(path: string, onReload: (error?: unknown) => void): Tokens {
  const watched = watchFiles([path], ([content = ""]) => {
    try {
      digests = readDigests(path, content);
      onReload();
    } catch (error) {
      onReload(error);
    }
  });
  let digests = readDigests(path, watched.contents[0] ?? "");

  return {
    get size() {
      return digests.length;
    },
    accept(authorization = "") {
      const [, token] = bearer.exec(authorization) ?? [];
      if (token === undefined) return undefined;
      const digest = hash("sha256", token, "buffer");
      let known: string | undefined;
      // Every one is compared, and each in the same time: how long it takes tells nothing.
      for (const one of digests) if (timingSafeEqual(one.digest, digest)) known ??= one.name;
      return known;
    },
    [Symbol.dispose]: () => watched[Symbol.dispose](),
  };
}

/** RFC 6750, section 2.1; the scheme's case does not matter (RFC 9110, section 11.1). */
const bearer = /^bearer +([\w.~+/-]+=*) *$/i;

const line = /^([^:]+):([0-9a-f]{64})$/i;

interface Digest {
  readonly name: string;
  readonly digest: Buffer;
}

/** @throws TokensFileError. A list of nobody is no list: a file that is being written is empty at first. */
export function readDigests(path: string, content: Content): readonly Digest[] {
  if (typeof content !== "string") throw new TokensFileError(path, `cannot be read (${content.code})`);
  const digests: Digest[] = [];
  for (const [index, text] of content.split("\n").entries()) {
    const entry = text.trim();
    if (entry === "" || entry.startsWith("#")) continue;
    const [, name, digest] = line.exec(entry) ?? [];
    if (name === undefined || digest === undefined) {
      throw new TokensFileError(
        path,
        `has something else in line ${index + 1} (want name:sha256, in hexadecimal)`,
      );
    }
    digests.push({ name: name.trim(), digest: Buffer.from(digest, "hex") });
  }
  if (digests.length === 0) throw new TokensFileError(path, "holds no token");
  return digests;
}
