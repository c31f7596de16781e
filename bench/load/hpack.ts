/** The request headers of a gRPC call as HPACK writes them (RFC 7541), without Huffman coding. */

/** Indexes of the static table (RFC 7541, appendix A). */
const method = { post: 3 };
const scheme = { http: 6 };
const name = { authority: 1, path: 4, contentType: 31, userAgent: 58 };
/** The newest entry of the dynamic table. */
const newest = 62;

/** The headers of a connection's first call. They are added to the dynamic table. */
export function firstHeaders(authority: string): Buffer {
  return Buffer.concat([
    indexed(method.post),
    indexed(scheme.http),
    added(name.path, "/gomemory.status.v1.StatusService/GetStatus"),
    added(name.authority, authority),
    added(name.contentType, "application/grpc"),
    added(name.userAgent, "grpc-go/1.85.0"),
    added("te", "trailers"),
  ]);
}

/** The headers of every other call: the last five refer to the entries that the first call added. */
export function laterHeaders(): Buffer {
  return Buffer.concat(
    [method.post, scheme.http, newest + 4, newest + 3, newest + 2, newest + 1, newest].map(indexed),
  );
}

/** An indexed header field (section 6.1). */
function indexed(index: number): Buffer {
  return Buffer.from([0x80 | index]);
}

/** A literal header field with incremental indexing (section 6.2.1). */
function added(named: number | string, value: string): Buffer {
  return typeof named === "number"
    ? Buffer.concat([Buffer.from([0x40 | named]), text(value)])
    : Buffer.concat([Buffer.from([0x40]), text(named), text(value)]);
}

function text(value: string): Buffer {
  return Buffer.from([value.length, ...Buffer.from(value)]);
}
