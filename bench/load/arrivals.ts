/**
 * The gaps between arrivals at random: exponentially distributed, and the same sequence in each phase, so that all servers
 * get the same bursts.
 *
 * @param mean of the gaps.
 * @returns the next gap, in the unit of the mean.
 */
export function exponentialGaps(mean: number): () => number {
  const random = seededRandom(1);
  return () => -mean * Math.log(1 - random());
}

/** Mulberry32. @returns numbers from 0 to below 1, the same ones for the same seed. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
