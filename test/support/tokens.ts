import { createHash } from "node:crypto";

/** A line of AUTH_TOKENS_FILE. */
export function tokenLine(name: string, token: string): string {
  return `${name}:${createHash("sha256").update(token).digest("hex")}\n`;
}

/** The headers of the caller alice, whose token is `of-alice`. */
export const bearing = { Authorization: "Bearer of-alice" };
