/**
 * The server under test of the Connect conformance suite: the service's listener, router and gRPC fast path with the suite's
 * endpoints. The suite starts it with two arguments: `on` or `off` for the fast path, and the suite's protos as buf's image. It
 * reads one size-delimited ServerCompatRequest, reports its address, and ends with SIGTERM.
 */
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  create,
  createFileRegistry,
  type DescMessage,
  fromBinary,
  type Message,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createFastPath, type FastPath } from "../../../src/protocols/grpc/fast-path.ts";
import { listen } from "../../../src/server/listener.ts";
import { createRouter } from "../../../src/server/router.ts";
import { openLife } from "../../support/serve.ts";
import { conformanceEndpoints } from "./service.ts";

type ServerRequest = Message & {
  readonly messageReceiveLimit: number;
  readonly clientTlsCert: Uint8Array;
  /** Absent: without TLS. */
  readonly serverCreds?: { readonly cert: Uint8Array; readonly key: Uint8Array };
};

const [, , fastPathSetting, image = ""] = process.argv;
const ended = once(process, "SIGTERM");
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, await readFile(image)));

const request = fromBinary(descOf("ServerCompatRequest"), await readDelimited()) as ServerRequest;
const answered = { calls: 0, streams: 0 };
const endpoints = conformanceEndpoints(registry);
const life = openLife(Number.POSITIVE_INFINITY);
const fastPath = fastPathSetting === "on" ? counting(createFastPath(endpoints, life)) : undefined;
const handler = createRouter({
  endpoints,
  life,
  registry,
  ...(request.messageReceiveLimit > 0 && { maxMessageSize: request.messageReceiveLimit }),
});
await using certificates = await writeCertificates(request);
const { tls } = certificates;
const listener = await listen({ host: "127.0.0.1", port: 0, shutdownTimeout: 1_000, tls, handler, fastPath });
const pemCert = request.serverCreds?.cert ?? new Uint8Array();
writeDelimited("ServerCompatResponse", { host: "127.0.0.1", port: listener.address.port, pemCert });
await ended;
await listener[Symbol.asyncDispose]();
process.stderr.write(
  `calls answered by the fast path: ${answered.calls}, ${answered.streams} of them streams\n`,
);
process.stdin.destroy();

/** Writes the suite's certificates into files, from which the listener reads them. */
async function writeCertificates({ serverCreds, clientTlsCert }: ServerRequest) {
  if (serverCreds === undefined) return { tls: undefined, async [Symbol.asyncDispose]() {} };
  const directory = await mkdtemp(join(tmpdir(), "gomemory-status-conformance-"));
  const file = async (name: string, content: Uint8Array) => {
    await writeFile(join(directory, name), content);
    return join(directory, name);
  };
  const files = {
    cert: await file("cert.pem", serverCreds.cert),
    key: await file("key.pem", serverCreds.key),
    ...(clientTlsCert.length > 0 && { clientCa: await file("client-ca.pem", clientTlsCert) }),
  };
  return {
    tls: { files, onReload: () => {} },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

function descOf(name: string): DescMessage {
  const desc = registry.getMessage(`connectrpc.conformance.v1.${name}`);
  if (desc === undefined) throw new Error(`${image} lacks ${name}`);
  return desc;
}

/** @returns the first message on standard input. Its length comes first, in four bytes. */
async function readDelimited(): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of process.stdin) {
    bytes = Buffer.concat([bytes, chunk]);
    if (bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE()) break;
  }
  return bytes.subarray(4);
}

function writeDelimited(name: string, init: MessageInitShape<DescMessage>): void {
  const bytes = toBinary(descOf(name), create(descOf(name), init));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  process.stdout.write(Buffer.concat([length, bytes]));
}

/** Counts the calls that do not fall back. */
function counting({ serve }: FastPath): FastPath {
  return {
    serve(stream, headers, flags, fallBack) {
      const streams = headers[":path"]?.endsWith("/ServerStream") ? 1 : 0;
      answered.calls++;
      answered.streams += streams;
      serve(stream, headers, flags, (...args) => {
        answered.calls--;
        answered.streams -= streams;
        fallBack(...args);
      });
    },
  };
}
