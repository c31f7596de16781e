import { residentBytes } from "../../cpu.ts";
import type { Service } from "./service.ts";

/** The memory of a process, in bytes. */
export interface Memory {
  /** As the operating system counts it, garbage included. */
  readonly resident: number;
  /** What a full collection leaves on V8's heap. */
  readonly heap: number;
  /** As the operating system counts it after that collection. */
  readonly residentAfter: number;
}

export async function readMemory({ pid, heap }: Pick<Service, "pid" | "heap">): Promise<Memory> {
  const resident = residentBytes(pid);
  return { resident, heap: await heap.collect(), residentAfter: residentBytes(pid) };
}

/** The growth for each of some clients, in bytes. */
export function growthEach(before: Memory, after: Memory, clients: number): Memory {
  const each = (of: keyof Memory) => (after[of] - before[of]) / clients;
  return { resident: each("resident"), heap: each("heap"), residentAfter: each("residentAfter") };
}
