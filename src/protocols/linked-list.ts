/** A value's place in a {@link LinkedList}. */
export class Link<T> {
  readonly value: T;
  /** Owned by the list. */
  list: LinkedList<T> | undefined;
  previous: Link<T> | undefined;
  next: Link<T> | undefined;

  constructor(value: T) {
    this.value = value;
  }

  /** Takes the value off its list. Does nothing when it is off already. */
  remove(): void {
    this.list?.remove(this);
  }
}

/**
 * Values in order of arrival, for what is added and removed without end. A Set would keep what was removed alive until the
 * next full collection (`npm run bench:table-chain`); links that were removed refer to nothing.
 */
export class LinkedList<T> {
  #first: Link<T> | undefined;
  #last: Link<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The value that was added before all others. */
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
