import { existsSync, readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { outputOf, runToEnd } from "./children.ts";
import { processTree } from "./cpu.ts";

/** The CPUs of each program, as taskset writes them. */
export interface Cpus {
  readonly server: string;
  readonly generator: string;
  readonly database: string;
}

/**
 * Assigns a core each to the server and the generator, and the others to the database, which shares the generator's
 * on a machine with two.
 *
 * @throws Error when this machine cannot run them on separate CPUs.
 */
export function chooseCpus(): Cpus {
  if (process.platform !== "linux" || outputOf("taskset", "--version") === undefined) {
    throw new Error("the benchmark needs Linux and taskset (util-linux): it pins programs and reads /proc");
  }
  const allowed = cpuNumbers(
    /^Cpus_allowed_list:\s+(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "",
  );
  // Hardware threads of one core slow each other down: use the first of every core before any second one.
  const firsts = allowed.filter((cpu) => siblings(cpu).find((each) => allowed.includes(each)) === cpu);
  const [server, generator, ...rest] = [...firsts, ...allowed.filter((cpu) => !firsts.includes(cpu))];
  if (server === undefined || generator === undefined) {
    throw new Error("the benchmark needs two CPUs, one for the server and one for the load generator");
  }
  const others = rest.filter((cpu) => !siblings(server).includes(cpu));
  return {
    server: `${server}`,
    generator: `${generator}`,
    database: others.length > 0 ? others.join() : `${generator}`,
  };
}

/** Keeps all other processes of the benchmark off the server's core: children inherit the CPUs of these. */
export async function pinRest({ database }: Cpus, databasePid: number): Promise<void> {
  for (const pid of [process.pid, ...processTree(databasePid)]) {
    await runToEnd(["taskset", "--all-tasks", "--pid", "--cpu-list", database, `${pid}`]);
  }
}

function siblings(cpu: number): number[] {
  const file = `/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`;
  return existsSync(file) ? cpuNumbers(readFileSync(file, "utf8").trim()) : [cpu];
}

/** `0,2-4` → 0, 2, 3, 4 */
export function cpuNumbers(list: string): number[] {
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

export function describeMachine(): Record<string, string> {
  const [cpu] = cpus();
  return {
    cpu: `${cpu?.model.trim()}, ${cpus().length} CPUs`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: `Linux ${release()}`,
  };
}
