import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buf, downloadGo, installGo } from "./tools.ts";

const suiteModule = "connectrpc.com/conformance";
const version = "v1.0.7";
const suite = await installGo("connectconformance", `${suiteModule}/cmd/connectconformance`, version);

const server = join(import.meta.dirname, "conformance", "server.ts");

/** The features of the service, as the suite's Config names them. */
const features = {
  codecs: ["CODEC_PROTO", "CODEC_JSON"],
  compressions: ["COMPRESSION_IDENTITY", "COMPRESSION_GZIP"],
  supportsTls: true,
  supportsTlsClientCerts: true,
  // connect-es answers 505 HTTP Version Not Supported: bidirectional streams need HTTP/2.
  supportsHalfDuplexBidiOverHttp1: false,
};

const protocols = [
  { name: "Connect, HTTP/1.1", protocols: ["PROTOCOL_CONNECT"], versions: ["HTTP_VERSION_1"] },
  { name: "gRPC-Web, HTTP/1.1", protocols: ["PROTOCOL_GRPC_WEB"], versions: ["HTTP_VERSION_1"] },
  { name: "Connect, HTTP/2", protocols: ["PROTOCOL_CONNECT"], versions: ["HTTP_VERSION_2"] },
  { name: "gRPC-Web, HTTP/2", protocols: ["PROTOCOL_GRPC_WEB"], versions: ["HTTP_VERSION_2"] },
  // The suite makes these calls by connect-go, and some of them by grpc-go as well.
  { name: "gRPC, HTTP/2", protocols: ["PROTOCOL_GRPC"], versions: ["HTTP_VERSION_2"] },
];

describe.skipIf(suite.skipped)(`${suite.title} (Connect conformance suite, with TLS and without)`, () => {
  let directory: string;
  let image: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "gomemory-status-conformance-"));
    image = join(directory, "protos.binpb");
    await buf("build", join(await downloadGo(suiteModule, version), "proto"), "-o", image);
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** @returns the number of cases, and of unary and streaming calls that the fast path answered. @throws Error with the suite's failures. */
  async function run(fastPath: "on" | "off", config: object) {
    const file = join(directory, "config.json");
    await writeFile(file, JSON.stringify({ features: { ...features, ...config } }));
    const underTest = [process.execPath, server, fastPath, image];
    const args = ["--mode", "server", "--conf", file, "--", ...underTest];
    const { stdout, stderr } = await promisify(execFile)(suite.path, args).catch(
      (error: { stdout: string }) => {
        throw new Error(`the suite failed:\n${error.stdout}`);
      },
    );
    const [, cases] = /^Total cases: (\d+)$/m.exec(stdout) ?? [];
    const counts = stderr.matchAll(/^calls answered by the fast path: (\d+), (\d+) of them streams$/gm);
    let fastCalls = 0;
    let fastStreams = 0;
    for (const [, calls, streams] of counts) {
      fastCalls += Number(calls);
      fastStreams += Number(streams);
    }
    return { cases: Number(cases), fastCalls: fastCalls - fastStreams, fastStreams };
  }

  // None of them may fail: there is no list of known failures.
  describe.for([
    { fastPath: "on", configs: protocols },
    // Over HTTP/1.1 there is no fast path.
    { fastPath: "off", configs: protocols.filter(({ versions }) => versions.includes("HTTP_VERSION_2")) },
  ] as const)("GRPC_FAST_PATH=$fastPath", ({ fastPath, configs }) => {
    // The suite measures deadlines: a case that a busy machine has delayed may pass in a second run.
    test.for(configs)("$name", { retry: 1 }, async ({ name, ...config }, { task }) => {
      const { cases, fastCalls, fastStreams } = await run(fastPath, config);
      task.meta.cases = cases;
      expect(cases).toBeGreaterThan(300);
      const isFast = fastPath === "on" && name.startsWith("gRPC,");
      expect([fastCalls > 0, fastStreams > 0]).toEqual([isFast, isFast]);
    });
  });
});
