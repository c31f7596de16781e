import type { Socket } from "node:net";
import { type Link, LinkedList } from "../protocols/linked-list.ts";

interface ConnectionLimits {
  readonly maxConnections: number;
  /** How long, in milliseconds, a connection may stay silent: without the first byte of its client. */
  readonly idleTimeout: number;
  /** A connection is closed since there are as many as there may be. */
  readonly onDropped?: (() => void) | undefined;
}

/** A connection from a client, until it is served. */
interface Opening {
  /** Its first byte has come. */
  heard(): void;
  /** What it speaks is known, and it is handed to what serves that. */
  served(): void;
}

/** All connections from clients. */
export interface Connections {
  add(socket: Socket): Opening;
  /** Closes connections that have been silent for too long. @param now in milliseconds, of the sweeps' clock. */
  sweep(now: number): void;
  /** Closes those that are not served yet. */
  closeOpening(): void;
  closeAll(): void;
}

/** The share of all connections above which silent ones are closed for others. */
const crowded = 0.8;

/** How long, in milliseconds, a new connection has for its first byte before it is closed for others. */
const grace = 100;

/** A connection of which no byte has come. */
interface Silent {
  readonly socket: Socket;
  /** In milliseconds of performance.now(). */
  readonly openedAt: number;
  /** When a sweep first found it so. */
  since: number | undefined;
}

/**
 * Tracks the connections of a listener. Load balancers open connections ahead, so a silent one may stay for as long as an idle
 * one. Above 80 % of `maxConnections` the oldest silent ones are closed, so that they cannot keep other clients from connecting.
 * Once there are no more places, a new connection takes that of the oldest silent one, and is closed where there is none.
 */
export function trackConnections({ maxConnections, idleTimeout, onDropped }: ConnectionLimits): Connections {
  const all = new LinkedList<Socket>();
  const silent = new LinkedList<Silent>();
  const opening = new LinkedList<Socket>();
  const most = Math.floor(crowded * maxConnections);
  let willMakeRoom = false;

  function makeRoomSoon(): void {
    if (willMakeRoom) return;
    willMakeRoom = true;
    setTimeout(makeRoom, grace).unref();
  }

  function makeRoom(): void {
    willMakeRoom = false;
    const before = performance.now() - grace;
    let excess = all.size - most;
    for (; excess > 0 && silent.oldest !== undefined && silent.oldest.value.openedAt <= before; excess--) {
      closeOldest(silent.oldest);
    }
    if (excess > 0 && silent.size > 0) makeRoomSoon();
  }

  function closeOldest(oldest: Link<Silent>): void {
    oldest.value.socket.destroy();
    oldest.remove();
  }

  return {
    add(socket) {
      if (all.size >= maxConnections) {
        if (silent.oldest !== undefined) closeOldest(silent.oldest);
        else socket.destroy();
        onDropped?.();
      }
      const place = all.add(socket);
      const silence = silent.add({ socket, openedAt: performance.now(), since: undefined });
      const unserved = opening.add(socket);
      socket.once("close", () => {
        place.remove();
        silence.remove();
        unserved.remove();
      });
      if (all.size > most) makeRoomSoon();
      return { heard: () => silence.remove(), served: () => unserved.remove() };
    },
    sweep(now) {
      for (const connection of silent.toArray()) {
        connection.since ??= now;
        if (now - connection.since >= idleTimeout) connection.socket.destroy();
      }
    },
    closeOpening() {
      for (const socket of opening.toArray()) socket.destroy();
    },
    closeAll() {
      for (const socket of all.toArray()) socket.destroy();
    },
  };
}
