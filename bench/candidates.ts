import { existsSync } from "node:fs";
import { join } from "node:path";
import { renameSettings } from "./against/renamed-settings.ts";
import { type Checkout, thisCheckout } from "./checkout.ts";
import { outputOf, runToEnd } from "./children.ts";
import { commitOf } from "./report/versions.ts";

/** A server that the benchmark measures. */
export interface Candidate {
  readonly name: string;
  readonly protocol: "rest" | "grpc";
  readonly command: readonly string[];
  /** The folder that it runs in. Default: the benchmark's own. */
  readonly cwd?: string;
  /** Environment variables besides its address and its database's URL. Undefined unsets one. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The checkout whose service it is. Undefined: a peer or a floor. */
  readonly checkout?: Checkout;
  /** The constant answer of a baseline server, in hexadecimal digits: the body, or the message with gRPC's prefix. */
  readonly constant?: string;
}

const here = import.meta.dirname;
const root = join(here, "..");
const programs = join(root, ".data", "bench", "bin");

const peer = (file: string): readonly string[] => [process.execPath, join(here, "peers", file)];

export const serviceName = "this service";
export const uncountedName = "this service, METRICS=off";

/** The service of this checkout, as `npm start` starts it. */
const service = { checkout: thisCheckout, command: thisCheckout.serve, cwd: thisCheckout.folder };

/** The service of another checkout, under the name "this service, <commit>". */
export function serviceCandidates(checkout: Checkout): Candidate[] {
  const { folder, serve } = checkout;
  const name = `${serviceName}, ${commitOf(folder) ?? folder}`;
  const env = renameSettings(folder, process.env);
  const protocols = ["rest", "grpc"] as const;
  return protocols.map((protocol) => ({ name, protocol, checkout, command: serve, cwd: folder, env }));
}

/** Whether it is the service of another checkout. */
export function isBeside({ candidate: { checkout } }: { readonly candidate: Candidate }): boolean {
  return checkout !== undefined && checkout !== thisCheckout;
}

export const nodeCandidates: readonly Candidate[] = [
  { name: serviceName, protocol: "rest", ...service },
  { name: uncountedName, protocol: "rest", ...service, env: { METRICS: "off" } },
  {
    name: "bare node:http",
    protocol: "rest",
    command: peer("bare-http.ts"),
    constant: Buffer.from(`{"status":"success","createdAt":"2026-03-03T21:44:15Z"}`).toString("hex"),
  },
  { name: "node:http + pg", protocol: "rest", command: peer("http-pg.ts") },
  { name: "node:http + postgres.js", protocol: "rest", command: peer("http-postgresjs.js") },
  { name: "Fastify + pg", protocol: "rest", command: peer("fastify-pg.js") },
  { name: serviceName, protocol: "grpc", ...service },
  { name: uncountedName, protocol: "grpc", ...service, env: { METRICS: "off" } },
  {
    name: "bare node:http2",
    protocol: "grpc",
    command: peer("bare-http2.ts"),
    constant: "000000000a0803120608afac9dcd06",
  },
  { name: "grpc-js + pg", protocol: "grpc", command: peer("grpcjs-pg.ts") },
  { name: "connect-node + Kysely", protocol: "grpc", command: peer("connect-kysely.ts") },
];

const goCandidates: readonly Candidate[] = [
  { name: "Go net/http + pgx", protocol: "rest", command: [join(programs, "nethttp")] },
  { name: "grpc-go + pgx", protocol: "grpc", command: [join(programs, "grpcgo")] },
];

export interface Candidates {
  readonly all: readonly Candidate[];
  /** The candidates that this machine cannot run, each with the reason. */
  readonly skipped: readonly string[];
}

/** Installs the packages of the peers, and builds the peers in Go where there is a Go toolchain. */
export async function prepareCandidates(): Promise<Candidates> {
  if (!existsSync(join(here, "node_modules"))) {
    await runToEnd(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: here });
  }
  const missing = await buildGo();
  return missing === undefined
    ? { all: [...nodeCandidates, ...goCandidates], skipped: [] }
    : { all: nodeCandidates, skipped: goCandidates.map(({ name }) => `${name}: ${missing}`) };
}

/** @returns why the peers in Go cannot be built, undefined when they are built. */
async function buildGo(): Promise<string | undefined> {
  if (outputOf("go", "version") === undefined) return "no Go toolchain found";
  try {
    await runToEnd(["go", "build", "-o", `${programs}/`, "./nethttp", "./grpcgo"], {
      cwd: join(here, "peers", "go"),
    });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
