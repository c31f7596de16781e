import { Counter, Gauge, type Registry } from "prom-client";

export interface ReplicaMetrics {
  /** @param serving whether reads go to the replica now. @returns the counters of reads, which exist with a replica alone. */
  watchReplica(serving: () => boolean): ReplicaReads;
}

interface ReplicaReads {
  /** @param role of the server that answered. */
  read(role: string): void;
  /** The primary is asked for what the replica could not answer. */
  reask(cause: string): void;
}

export function createReplicaMetrics(registry: Registry): ReplicaMetrics {
  return { watchReplica: (serving) => watchReplica(registry, serving) };
}

function watchReplica(registry: Registry, serving: () => boolean): ReplicaReads {
  const registers = [registry];
  const reads = new Counter({
    name: "status_store_reads",
    help: "Reads that were answered, by the role of the server that answered.",
    labelNames: ["role"],
    registers,
  });
  const reasks = new Counter({
    name: "status_store_reasks",
    help: "Reads that were repeated on the primary, by the reason why the replica's answer could not be used, or was not enough.",
    labelNames: ["cause"],
    registers,
  });
  new Gauge({
    name: "status_store_replica_serving",
    help: "1 while reads go to the replica. Otherwise 0.",
    registers,
    collect() {
      this.set(serving() ? 1 : 0);
    },
  });
  return { read: (role) => reads.inc({ role }), reask: (cause) => reasks.inc({ cause }) };
}
