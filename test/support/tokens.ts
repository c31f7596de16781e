import { createHash } from "node:crypto";

/** A line of a tokens' file. */
export function tokenLine(name: string, token: string): string {
  return `${name}:${createHash("sha256").update(token).digest("hex")}\n`;
}
