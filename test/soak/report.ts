/** The outcome of a soak. */
export interface SoakReport {
  /** Each makes the soak fail. */
  readonly failures: readonly string[];
  /** The figures for the reader. */
  readonly lines: readonly string[];
}
