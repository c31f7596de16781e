import type { Compression } from "@connectrpc/connect/protocol";

/**
 * Decompresses one message after the other. A few bytes may become the largest message that is taken: hundreds of such
 * at the same time would take hundreds of times its memory.
 */
export function oneAfterTheOther(compression: Compression): Compression {
  let last: Promise<unknown> = Promise.resolve();
  return {
    name: compression.name,
    compress: (bytes) => compression.compress(bytes),
    decompress(bytes, readMaxBytes) {
      const message = last.then(() => compression.decompress(bytes, readMaxBytes));
      last = message.catch(() => {});
      return message;
    },
  };
}
