import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type Frame, frameReader } from "../support/http2-frames.ts";

/** A proxy between a client and the service that records the HTTP/2 frames of both. */
export interface Wiretap extends AsyncDisposable {
  /** The address for the client. */
  readonly target: string;
  /** The number of connections so far. */
  readonly connections: number;
  readonly fromClient: readonly Frame[];
  readonly fromService: readonly Frame[];
}

/** The length of the preface before a client's first frame (RFC 9113, section 3.4). */
const prefaceLength = 24;

export async function tap(servicePort: number): Promise<Wiretap> {
  const sockets: Socket[] = [];
  const fromClient: Frame[] = [];
  const fromService: Frame[] = [];
  const server = createServer((client) => {
    const service = connect(servicePort, "127.0.0.1");
    sockets.push(client, service);
    const readClient = frameReader();
    const readService = frameReader();
    let skip = prefaceLength;
    client.on("data", (chunk: Buffer) => {
      service.write(chunk);
      const skipped = Math.min(skip, chunk.length);
      skip -= skipped;
      fromClient.push(...readClient(chunk.subarray(skipped)));
    });
    service.on("data", (chunk: Buffer) => {
      client.write(chunk);
      fromService.push(...readService(chunk));
    });
    for (const [one, other] of [
      [client, service],
      [service, client],
    ] as const) {
      one.on("error", () => {});
      one.on("close", () => other.destroy());
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return {
    target: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get connections() {
      return sockets.length / 2;
    },
    fromClient,
    fromService,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
