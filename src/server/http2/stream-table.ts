import type { Http2Session, Http2Stream } from "node:http2";
import { replaceStreamCollections } from "../node-internals.ts";

/**
 * The open streams of an HTTP/2 session by their ids, in place of the Map in which node:http2 keeps them: a hash table with
 * open addressing and linear probing, at most half full.
 *
 * V8 replaces the backing store of a Map every few changes, and each store refers to the next. Once a garbage collection has
 * moved one of them to old space, every later stream outlives its call until the next full collection
 * (`npm run bench:gc-tail`). Slots that are reused keep nothing alive.
 */
export class StreamTable {
  #slots: (Http2Stream | undefined)[] = new Array(64).fill(undefined);
  #size = 0;
  /** Ids only increase (RFC 9113, section 5.1.1), so that an id above this one needs no lookup. */
  #greatest = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Http2Stream | undefined {
    return id > this.#greatest ? undefined : this.#slots[this.#slotOf(id)];
  }

  set(id: number, stream: Http2Stream): this {
    if (2 * this.#size >= this.#slots.length) this.#grow();
    const at = this.#slotOf(id);
    if (this.#slots[at] === undefined) this.#size++;
    this.#slots[at] = stream;
    this.#greatest = Math.max(this.#greatest, id);
    return this;
  }

  delete(id: number): boolean {
    let free = this.#slotOf(id);
    if (this.#slots[free] === undefined) return false;
    this.#size--;
    // A stream that a collision put behind the slot that is free now would not be found any more: it moves there.
    for (let at = this.#next(free); ; at = this.#next(at)) {
      const stream = this.#slots[at];
      if (stream === undefined) break;
      const home = this.#home(stream.id as number);
      const isReached = free <= at ? free < home && home <= at : free < home || home <= at;
      if (isReached) continue;
      this.#slots[free] = stream;
      free = at;
    }
    this.#slots[free] = undefined;
    return true;
  }

  forEach(visit: (stream: Http2Stream) => void): void {
    for (const stream of this.#slots.slice()) if (stream !== undefined) visit(stream);
  }

  /** @returns the slot of a stream: where it is, or where it would be put. */
  #slotOf(id: number): number {
    for (let at = this.#home(id); ; at = this.#next(at)) {
      const stream = this.#slots[at];
      if (stream === undefined || stream.id === id) return at;
    }
  }

  /** @returns the slot of an id without collisions: clients give their streams odd ids, in order. */
  #home(id: number): number {
    return (id >>> 1) & (this.#slots.length - 1);
  }

  #next(at: number): number {
    return (at + 1) & (this.#slots.length - 1);
  }

  #grow(): void {
    const streams = this.#slots.filter((stream) => stream !== undefined);
    this.#slots = new Array(2 * this.#slots.length).fill(undefined);
    for (const stream of streams) this.#slots[this.#slotOf(stream.id as number)] = stream;
  }
}

/**
 * The streams of an HTTP/2 session that have no id yet, in place of the Set in which node:http2 keeps them. A server's session
 * has at most one, for a moment.
 */
export class PendingStreams {
  readonly #streams: Http2Stream[] = [];

  get size(): number {
    return this.#streams.length;
  }

  add(stream: Http2Stream): this {
    this.#streams.push(stream);
    return this;
  }

  delete(stream: Http2Stream): boolean {
    const at = this.#streams.lastIndexOf(stream);
    if (at !== -1) this.#streams.splice(at, 1);
    return at !== -1;
  }

  forEach(visit: (stream: Http2Stream) => void): void {
    this.#streams.slice().forEach(visit);
  }
}

/**
 * Has a session that begins keep its streams in collections that release them. Changes nothing where this version of Node keeps
 * them otherwise.
 *
 * @returns the session's streams.
 */
export function installStreamTable(session: Http2Session): StreamTable {
  const streams = new StreamTable();
  replaceStreamCollections(session, streams, new PendingStreams());
  return streams;
}
