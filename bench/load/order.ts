/** Rows in an order that visits each once before any twice, and jumps all over the table. */
export function rowsInOrder(rows: number, seed: number): () => number {
  // About the golden ratio of the number of rows, and without a common divisor with it.
  let step = Math.round(rows * 0.6180339887);
  while (greatestCommonDivisor(step, rows) !== 1) step++;
  let row = seed % rows;
  return () => {
    row = (row + step) % rows;
    return row;
  };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
