/** Collects the garbage of a Node process through its inspector, which its own code does not notice. */
export interface Heap extends Disposable {
  /** @returns the bytes in use on its V8 heap, and of its array buffers, after a full collection. */
  collect(): Promise<number>;
}

/** @param port that the process's inspector listens on (`--inspect`). */
export async function openHeap(port: number): Promise<Heap> {
  const response = await fetch(`http://127.0.0.1:${port}/json/list`);
  const [target] = (await response.json()) as { webSocketDebuggerUrl: string }[];
  const socket = new WebSocket(target?.webSocketDebuggerUrl ?? "");
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("the inspector cannot be reached"));
  });
  const waiting = new Map<number, (result: Record<string, number>) => void>();
  socket.onmessage = ({ data }) => {
    const { id, result } = JSON.parse(data);
    waiting.get(id)?.(result);
    waiting.delete(id);
  };
  let calls = 0;
  const send = (method: string) =>
    new Promise<Record<string, number>>((resolve) => {
      calls++;
      waiting.set(calls, resolve);
      socket.send(JSON.stringify({ id: calls, method }));
    });

  return {
    async collect() {
      await send("HeapProfiler.collectGarbage");
      const { usedSize = 0, backingStorageSize = 0 } = await send("Runtime.getHeapUsage");
      return usedSize + backingStorageSize;
    },
    [Symbol.dispose]: () => socket.close(),
  };
}
