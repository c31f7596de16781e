import type { Socket } from "node:net";
import { isTimedByEndpoint } from "../../protocols/held-responses.ts";
import { responseInProgress, unsentBytes } from "../node-internals.ts";

/** All in milliseconds. */
interface ClientTimeouts {
  /** For the client to read what was written. A call in progress has no limit, nor has a watch, which ends by itself. */
  readonly peerTimeout: number;
  /** Without a call. */
  readonly idleTimeout: number;
}

/** How much longer than announced an idle connection stays open, in milliseconds: a call may be on its way meanwhile. */
const idleGrace = 1_000;

/**
 * Finds out, from sweep to sweep, whether an HTTP/1.1 connection is idle, or its client does not read. Node's own timers of a
 * socket restart twice a call, and with all that is read and written, which costs a call 5 % of its time. How long a client
 * takes to send a request is limited by Node.
 */
export class ClientWatch {
  readonly #socket: Socket;
  readonly #timeouts: ClientTimeouts;
  #hadCall = true;
  #unsent = 0;
  /** The time of the last sweep that found it in use, or its client reading. */
  #since = 0;

  constructor(socket: Socket, timeouts: ClientTimeouts) {
    this.#socket = socket;
    this.#timeouts = timeouts;
  }

  callBegins(): void {
    this.#hadCall = true;
  }

  /** Whether the connection is to be closed. @param now in milliseconds, of the sweeps' clock. */
  exceedsTimeout(now: number): boolean {
    const { peerTimeout, idleTimeout } = this.#timeouts;
    const response = responseInProgress(this.#socket);
    const unsent = response ? unsentBytes(this.#socket) : 0;
    const isInProgress = response && (unsent === 0 || isTimedByEndpoint(response));
    if (isInProgress || this.#hadCall || unsent !== this.#unsent) this.#since = now;
    this.#hadCall = false;
    this.#unsent = unsent;
    return now - this.#since >= (response ? peerTimeout : idleTimeout + idleGrace);
  }
}
