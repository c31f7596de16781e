/** Reads one figure of a service's metrics, summed over its labels. @returns 0 when there is none. */
export async function readMetric(port: number, name: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  const text = await response.text();
  const pattern = new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "gm");
  return [...text.matchAll(pattern)].reduce((sum, [, value]) => sum + Number(value), 0);
}
