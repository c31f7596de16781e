/** @returns the elements in a random order. */
export function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((element) => ({ element, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ element }) => element);
}
