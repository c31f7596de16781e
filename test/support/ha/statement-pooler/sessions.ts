import type { Message } from "../../postgres-messages.ts";
import { openSession, type Session } from "./session.ts";

/** A client that uses a session, for a transaction. */
interface User {
  readonly onAnswer: (answer: Message) => void;
  /** Called when the transaction has ended: the session is another client's now. */
  readonly onReleased: () => void;
  /** Called when the session has ended before the transaction. */
  readonly onLost: () => void;
}

/** Sessions that are opened as they are needed, up to a number. */
export interface Sessions extends Disposable {
  /** Takes a session for a transaction, the one that has been idle for the longest. Waits until there is one. */
  take(user: User): Promise<Session>;
  /** ParameterStatus, as a session has been told them. */
  parameters(): Promise<readonly Message[]>;
}

interface Slot {
  readonly session: Session;
  user: User | undefined;
}

/** @param onParse called for each Parse of a statement with a name. */
export function createSessions(databaseUrl: string, size: number, onParse: () => void): Sessions {
  const open = new Set<Slot>();
  const idle: Slot[] = [];
  const waiting: ((slot: Slot) => void)[] = [];
  let count = 0;

  async function add(): Promise<Slot> {
    count++;
    const session = await openSession(databaseUrl, {
      onParse,
      onAnswer: (answer) => slot.user?.onAnswer(answer),
      onIdle() {
        slot.user?.onReleased();
        release(slot);
      },
      onEnd() {
        count--;
        open.delete(slot);
        if (idle.includes(slot)) idle.splice(idle.indexOf(slot), 1);
        slot.user?.onLost();
        if (waiting.length > 0) void add().then(release);
      },
    });
    const slot: Slot = { session, user: undefined };
    open.add(slot);
    return slot;
  }

  function release(slot: Slot): void {
    slot.user = undefined;
    const next = waiting.shift();
    if (next === undefined) idle.push(slot);
    else next(slot);
  }

  async function nextSlot(): Promise<Slot> {
    const slot = idle.shift();
    if (slot !== undefined) return slot;
    if (count < size) return await add();
    const { promise, resolve } = Promise.withResolvers<Slot>();
    waiting.push(resolve);
    return await promise;
  }

  return {
    async take(user) {
      const slot = await nextSlot();
      slot.user = user;
      return slot.session;
    },
    async parameters() {
      const slot = await nextSlot();
      release(slot);
      return slot.session.parameters;
    },
    [Symbol.dispose]() {
      waiting.length = 0;
      for (const { session } of open) session.end();
    },
  };
}
