/** Rows in an order that repeats none before all have been visited, and that jumps across the table. */
export function rowsInOrder(rows: number, seed: number): () => number {
  // Close to the golden ratio of the number of rows, and coprime to it.
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
