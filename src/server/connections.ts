import type { Socket } from "node:net";
import { type Link, LinkedList } from "../status/linked-list.ts";

interface ConnectionLimits {
  readonly maxConnections: number;
  /** How long, in milliseconds, a new connection may be idle: without the first byte of its client. */
  readonly idleTimeout: number;
  /** Called for each connection that is closed because of `maxConnections`. */
  readonly onDropped?: (() => void) | undefined;
}

/** A connection until its protocol is known. */
interface NewConnection {
  firstByteArrived(): void;
  protocolDetected(): void;
}

/** All connections from clients. */
export interface Connections {
  add(socket: Socket): NewConnection;
  /** Closes connections that have been idle for longer than the timeout. @param now in milliseconds, of the sweeps' clock. */
  sweep(now: number): void;
  /** Closes the connections whose protocol is not known yet. */
  closeNew(): void;
  closeAll(): void;
}

/** The share of `maxConnections` above which idle connections are closed to admit others. */
const idleThreshold = 0.8;

/** How long, in milliseconds, a new connection has for its first byte before it may be closed to admit others. */
const firstByteGrace = 100;

/** A connection of which no byte has arrived. */
interface IdleConnection {
  readonly socket: Socket;
  /** In milliseconds of performance.now(). */
  readonly openedAt: number;
  /** The time of the first sweep that found the connection idle. */
  idleSince: number | undefined;
}

/**
 * Tracks the connections of a listener. Load balancers open connections ahead, so a new one may be idle for as long as one
 * between two calls. Above 80 % of `maxConnections` the oldest idle ones are closed, so that hostile clients cannot keep others
 * from connecting. At `maxConnections`, a new connection replaces the oldest idle one, and is closed where there is none.
 */
export function trackConnections({ maxConnections, idleTimeout, onDropped }: ConnectionLimits): Connections {
  const all = new LinkedList<Socket>();
  const idle = new LinkedList<IdleConnection>();
  const undetected = new LinkedList<Socket>();
  const threshold = Math.floor(idleThreshold * maxConnections);
  let isCloseScheduled = false;

  function scheduleClose(): void {
    if (isCloseScheduled) return;
    isCloseScheduled = true;
    setTimeout(closeExcess, firstByteGrace).unref();
  }

  function closeExcess(): void {
    isCloseScheduled = false;
    const openedBefore = performance.now() - firstByteGrace;
    let excess = all.size - threshold;
    for (; excess > 0 && idle.oldest !== undefined && idle.oldest.value.openedAt <= openedBefore; excess--) {
      close(idle.oldest);
    }
    if (excess > 0 && idle.size > 0) scheduleClose();
  }

  function close(connection: Link<IdleConnection>): void {
    connection.value.socket.destroy();
    connection.remove();
  }

  return {
    add(socket) {
      if (all.size >= maxConnections) {
        if (idle.oldest !== undefined) close(idle.oldest);
        else socket.destroy();
        onDropped?.();
      }
      const inAll = all.add(socket);
      const inIdle = idle.add({ socket, openedAt: performance.now(), idleSince: undefined });
      const inUndetected = undetected.add(socket);
      socket.once("close", () => {
        inAll.remove();
        inIdle.remove();
        inUndetected.remove();
      });
      if (all.size > threshold) scheduleClose();
      return { firstByteArrived: () => inIdle.remove(), protocolDetected: () => inUndetected.remove() };
    },
    sweep(now) {
      for (const connection of idle.toArray()) {
        connection.idleSince ??= now;
        if (now - connection.idleSince >= idleTimeout) connection.socket.destroy();
      }
    },
    closeNew() {
      for (const socket of undetected.toArray()) socket.destroy();
    },
    closeAll() {
      for (const socket of all.toArray()) socket.destroy();
    },
  };
}
