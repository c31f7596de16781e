import type { HttpRequest } from "../http.ts";
import { mediaTypeOf } from "../media-type.ts";

/** Whether the body of a request says that it is JSON, in UTF-8 and not compressed. */
export function isPlainJson({ headers }: HttpRequest): boolean {
  const coding = headers["content-encoding"] ?? "identity";
  return mediaTypeOf(headers["content-type"]) === "application/json" && /^identity$/i.test(coding);
}

/** @returns the body of a request; undefined when it is larger, and then it is not read to its end. */
export async function readBody(request: HttpRequest, maxSize: number): Promise<Buffer | undefined> {
  if (Number(request.headers["content-length"]) > maxSize) return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxSize) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}
