import { MIMEType } from "node:util";

/** As nearly every caller writes them: there is nothing to be read into these. */
const asWritten = new Set([
  "application/json",
  "application/proto",
  "application/grpc",
  "application/grpc+proto",
  "application/grpc-web+proto",
]);

/**
 * Reads a Content-Type as RFC 9110, section 8.3.1 writes it: in any case, with blanks around ";", and with quoted parameters.
 *
 * @returns the media type in lower case, without its parameters: none of them changes what the media types of RPCs are. But
 *   JSON in another charset than UTF-8 keeps that, and is then a type that nothing here takes. Empty when there is no type.
 */
export function mediaTypeOf(contentType = ""): string {
  if (asWritten.has(contentType)) return contentType;
  let type: MIMEType;
  try {
    type = new MIMEType(contentType);
  } catch {
    return "";
  }
  const charset = type.params.get("charset") ?? "utf-8";
  const isText = type.essence.endsWith("json");
  return isText && !/^utf-?8$/i.test(charset) ? `${type.essence};charset=${charset}` : type.essence;
}
