import { type Content, unreadable } from "../server/watched-files.ts";
import { ConnectionUrlError } from "../store/url/connection-url.ts";
import { completeUrl, readDatabaseUrl } from "../store/url/database-url.ts";

/** What is accepted as the URL of a database, as the object of "takes" and "holds". */
export const databaseUrlForm = "a URL that begins with postgres:// or postgresql://";

type Environment = Readonly<Record<string, string | undefined>>;

/** A file that holds the URL of a database, and nothing else. */
export interface UrlFile {
  readonly path: string;
  /** @returns the URL, with what the environment sets besides. @throws UrlFileError */
  parse(content: Content): string;
}

/** A file holds no URL that can be used. Each of the lines names the setting and the file, and shows nothing of the content. */
export class UrlFileError extends Error {
  override readonly name = "UrlFileError";
  readonly lines: readonly string[];

  constructor(lines: readonly string[]) {
    super(lines.join("; "));
    this.lines = lines;
  }
}

/** @param setting that names the file. */
export function urlFileAt(path: string, setting: string, env: Environment): UrlFile {
  const name = `${setting}=${path}`;
  const refuse = (problem: string) => new UrlFileError([`${name} must hold ${databaseUrlForm}: ${problem}`]);

  function read(url: string): string {
    try {
      const reading = readDatabaseUrl(url, env, name);
      if (reading.mistakes.length > 0) throw new UrlFileError(reading.mistakes);
      return completeUrl(url, reading);
    } catch (error) {
      if (!(error instanceof ConnectionUrlError)) throw error;
      throw refuse(error.message);
    }
  }

  return {
    path,
    parse(content) {
      if (typeof content !== "string") throw new UrlFileError([`${name} ${unreadable(content)}`]);
      const url = content.replace(/\r?\n$/, "");
      // A file that is being written is empty at first.
      if (url === "") throw refuse("it is empty");
      if (/[\r\n]/.test(url)) throw refuse("it has several lines");
      return read(url);
    },
  };
}
