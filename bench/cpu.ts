import { readdirSync, readFileSync } from "node:fs";

/** Clock ticks a second in /proc (USER_HZ): 100 on Linux, whatever the kernel's own rate is. */
const ticks = 100;

/** User and system time, in seconds, of a process and of all its descendants, including those that have ended. */
export function cpuSeconds(pid: number): number {
  return sumOverTree(pid, (folder) => {
    // The name in parentheses may hold anything; utime, stime, cutime and cstime are the fields 14 to 17 (proc(5)).
    const stat = readFileSync(`${folder}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0) / ticks;
  });
}

/** CPU time, in seconds, that all processes of this machine have used, and that its host has withheld (steal). */
export function machineCpuSeconds(): number {
  const fields =
    readFileSync("/proc/stat", "latin1").split("\n", 1)[0]?.split(/ +/).slice(1, 9).map(Number) ?? [];
  // user, nice, system, idle, iowait, irq, softirq, steal (proc(5)); idle and iowait are unused time.
  return fields.reduce((sum, field, index) => sum + (index === 3 || index === 4 ? 0 : field), 0) / ticks;
}

/** Resident memory of a process and of all its descendants, in bytes. Shared pages count in each. */
export function residentBytes(pid: number): number {
  return sumOverTree(pid, (folder) => {
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`${folder}/status`, "latin1"))?.[1];
    return Number(kilobytes) * 1024;
  });
}

/** The pids of a process and of all its living descendants. */
export function processTree(pid: number): number[] {
  const children = unlessGone([], () =>
    readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
      const pids = readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1");
      return pids.split(" ").filter(Boolean).map(Number);
    }),
  );
  return [pid, ...children.flatMap(processTree)];
}

function sumOverTree(pid: number, read: (folder: string) => number): number {
  return processTree(pid).reduce((sum, each) => sum + unlessGone(0, () => read(`/proc/${each}`)), 0);
}

/** A process may end after it was listed and before its files are read. */
function unlessGone<T>(otherwise: T, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return otherwise;
    throw error;
  }
}
