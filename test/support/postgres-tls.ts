import { chmod, chown, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Authority } from "./certificates.ts";

/**
 * Has a PostgreSQL server offer TLS, and take the certificates that the authority signs.
 *
 * @param name that the server's certificate is for.
 * @param query runs a statement on it, as its superuser.
 */
export async function offerTls(
  dataDirectory: string,
  authority: Authority,
  name: string,
  query: (statement: string) => Promise<unknown>,
): Promise<void> {
  const { cert, key } = await authority.issue("database", name);
  const owner = await stat(dataDirectory);
  const files = { "server.crt": cert, "server.key": key, "root.crt": authority.cert };
  for (const [fileName, content] of Object.entries(files)) {
    const file = join(dataDirectory, fileName);
    await writeFile(file, content);
    await chown(file, owner.uid, owner.gid);
    await chmod(file, 0o600);
  }
  await query("alter system set ssl = on");
  await query("alter system set ssl_ca_file = 'root.crt'");
  await query("select pg_reload_conf()");
}
