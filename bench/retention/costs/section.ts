/** A table of figures of the report. */
export interface Section {
  readonly title: string;
  /** How they were measured. */
  readonly text: string;
  /** The first one is of the rows' names. */
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
}

type Row = readonly [name: string, ...cells: (number | string)[]];

/** Significant digits differ by size: costs range from hundredths to billions. */
export function cell(value: number | string): string {
  if (typeof value === "string") return value;
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export const megabytes = (bytes: number): number => bytes / 2 ** 20;
