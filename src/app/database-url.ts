import type { UrlFile } from "../config/url-file.ts";
import { type Content, watchFiles } from "../server/watched-files.ts";
import type { Log } from "../telemetry/log.ts";

/** The URL of a database, which may change. Disposing of it ends the watch of its file. */
export interface DatabaseUrl extends Disposable {
  readonly current: string;
  /** Has the listener called with each other URL. */
  onChange(listener: (url: string) => void): void;
}

/**
 * @param url as it was read at the start.
 * @param file that it was read from. Undefined: it does not change.
 */
export function openDatabaseUrl(url: string, file: UrlFile | undefined, log: Log): DatabaseUrl {
  let current = url;
  const listeners: ((url: string) => void)[] = [];
  if (file === undefined) return { current, onChange() {}, [Symbol.dispose]() {} };
  const { path, parse } = file;

  function use([content = ""]: readonly Content[]): void {
    try {
      const next = parse(content);
      if (next === current) return;
      current = next;
    } catch (err) {
      log.error(
        { err },
        "the file with the database's URL has changed and cannot be used: the old URL stays in use",
      );
      return;
    }
    log.info({ file: path }, "the database's URL has changed");
    for (const listener of listeners) listener(current);
  }

  const watched = watchFiles([path], use);
  // It may have changed since the start.
  use(watched.contents);
  return {
    get current() {
      return current;
    },
    onChange: (listener) => void listeners.push(listener),
    [Symbol.dispose]: () => watched[Symbol.dispose](),
  };
}
