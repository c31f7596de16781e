/** The value of one line, or undefined if there is none. */
export function metricValue(
  text: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const line = text
    .split("\n")
    .find((one) =>
      one.startsWith(`${name}{`) || one.startsWith(`${name} `)
        ? Object.entries(labels).every(([label, value]) => one.includes(`${label}="${value}"`))
        : false,
    );
  return line === undefined ? undefined : Number(line.split(" ").at(-1));
}
