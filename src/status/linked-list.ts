/** An entry of a {@link LinkedList}. */
export class Link<T> {
  readonly value: T;
  /** The list that the entry is on. It sets this and the neighbours. */
  list: LinkedList<T> | undefined;
  previous: Link<T> | undefined;
  next: Link<T> | undefined;

  constructor(value: T) {
    this.value = value;
  }

  /** Does nothing when the entry was removed before. */
  remove(): void {
    this.list?.remove(this);
  }
}

/**
 * A doubly linked list of values in order of insertion, for values that are added and removed all the time. A Set would keep
 * removed values alive until the next full garbage collection (`npm run bench:table-chain`); removed entries refer to nothing.
 */
export class LinkedList<T> {
  #first: Link<T> | undefined;
  #last: Link<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The entry that was added before all others. */
  get oldest(): Link<T> | undefined {
    return this.#first;
  }

  add(value: T): Link<T> {
    const link = new Link(value);
    link.list = this;
    link.previous = this.#last;
    if (this.#last === undefined) this.#first = link;
    else this.#last.next = link;
    this.#last = link;
    this.#size++;
    return link;
  }

  /** @param link one of this list. */
  remove(link: Link<T>): void {
    const { previous, next } = link;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    link.list = undefined;
    link.previous = undefined;
    link.next = undefined;
    this.#size--;
  }

  /** @returns a copy, which stays as it is while values are added and removed. */
  toArray(): T[] {
    const values: T[] = [];
    for (let link = this.#first; link !== undefined; link = link.next) values.push(link.value);
    return values;
  }
}
