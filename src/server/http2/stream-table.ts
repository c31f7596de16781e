import type { Http2Session, Http2Stream } from "node:http2";

/**
 * An HTTP/2 session's open streams by their ids, as far as node:http2 asks for it: what Node keeps in a Map.
 *
 * V8 puts another table under a Map every few changes, and each refers to the next: once a full collection has made one
 * of them old, every stream that comes later outlives its call until the next one (`npm run bench:gc-tail`). Here,
 * places are taken and left again: open addressing with linear probing, at most half full.
 */
export class StreamTable {
  #places: (Http2Stream | undefined)[] = new Array(64).fill(undefined);
  #size = 0;
  /** Ids only grow (RFC 9113, section 5.1.1): a stream that begins need not be looked for. */
  #greatest = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Http2Stream | undefined {
    return id > this.#greatest ? undefined : this.#places[this.#placeOf(id)];
  }

  set(id: number, stream: Http2Stream): this {
    if (2 * this.#size >= this.#places.length) this.#grow();
    const at = this.#placeOf(id);
    if (this.#places[at] === undefined) this.#size++;
    this.#places[at] = stream;
    this.#greatest = Math.max(this.#greatest, id);
    return this;
  }

  delete(id: number): boolean {
    let free = this.#placeOf(id);
    if (this.#places[free] === undefined) return false;
    this.#size--;
    // Whoever had to give way to others, and sits behind a place that is free now, would not be found there.
    for (let at = this.#next(free); ; at = this.#next(at)) {
      const stream = this.#places[at];
      if (stream === undefined) break;
      const home = this.#home(stream.id as number);
      const isReached = free <= at ? free < home && home <= at : free < home || home <= at;
      if (isReached) continue;
      this.#places[free] = stream;
      free = at;
    }
    this.#places[free] = undefined;
    return true;
  }

  forEach(visit: (stream: Http2Stream) => void): void {
    for (const stream of this.#places.slice()) if (stream !== undefined) visit(stream);
  }

  /** Where a stream is, or would be put. */
  #placeOf(id: number): number {
    for (let at = this.#home(id); ; at = this.#next(at)) {
      const stream = this.#places[at];
      if (stream === undefined || stream.id === id) return at;
    }
  }

  /** Streams of clients have odd ids, in order. */
  #home(id: number): number {
    return (id >>> 1) & (this.#places.length - 1);
  }

  #next(at: number): number {
    return (at + 1) & (this.#places.length - 1);
  }

  #grow(): void {
    const streams = this.#places.filter((stream) => stream !== undefined);
    this.#places = new Array(2 * this.#places.length).fill(undefined);
    for (const stream of streams) this.#places[this.#placeOf(stream.id as number)] = stream;
  }
}

/** The streams that have no id yet, of which a server's session has one for a moment: what Node keeps in a Set. */
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

/** What Node keeps of a session, under a symbol of its own. */
interface SessionState {
  streams: StreamTable;
  pendingStreams: PendingStreams;
}

/**
 * Has a session that begins keep its streams in tables that let them go.
 *
 * @returns whether it does. False, and nothing is changed, where this Node keeps them otherwise.
 */
export function keepStreamsBriefly(session: Http2Session): boolean {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === "state");
  const state = symbol && (session as Http2Session & Record<symbol, SessionState>)[symbol];
  if (state?.streams?.size !== 0 || state.pendingStreams?.size !== 0) return false;
  state.streams = new StreamTable();
  state.pendingStreams = new PendingStreams();
  return true;
}
