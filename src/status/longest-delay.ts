/** The longest delay of a timer in Node, in milliseconds: about 24 days. A timer that is set to more fires at once. */
export const longestDelay = 2 ** 31 - 1;
