/** Runs in the service's process: makes the lookup of a host name fail on demand, and collects garbage on SIGUSR2. */
import dns from "node:dns";
import { existsSync } from "node:fs";
import v8 from "node:v8";
import vm from "node:vm";

/** A host name that only this process can look up, and only while the file does not exist. */
const { FAULTS_HOST: host, FAULTS_NO_DNS: noDns } = process.env;
const lookup = dns.lookup as (name: string, ...rest: unknown[]) => void;

dns.lookup = ((name: string, ...rest: unknown[]) => {
  if (name !== host) return lookup(name, ...rest);
  if (noDns === undefined || !existsSync(noDns)) return lookup("127.0.0.1", ...rest);
  const callback = rest.at(-1) as (error: Error) => void;
  const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: "ENOTFOUND" });
  process.nextTick(callback, error);
}) as typeof dns.lookup;

// The tests measure memory after garbage collection.
v8.setFlagsFromString("--expose-gc");
const collect = vm.runInNewContext("gc") as () => void;
process.on("SIGUSR2", () => collect());
