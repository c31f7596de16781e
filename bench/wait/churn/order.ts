import { isFinal, type State } from "../clients/states.ts";

const ranks = { pending: 0, processing: 1, success: 2, failure: 2, gone: 3 } as const;

/** Checks that the states of each job come in an order that the contract allows. */
export interface Order {
  /** Begins a stream. */
  stream(reqIds: readonly string[]): StreamOrder;
}

/** Checks one stream. */
interface StreamOrder {
  /** @returns what is wrong with a state that comes next; undefined when nothing is. */
  next(state: State): string | undefined;
  /** @returns what is wrong with an end that says that all was reported. */
  end(): string | undefined;
}

/** The streams of one client, one after the other: its status never goes backwards from one to the next either. */
export function createOrder(): Order {
  const known = new Map<string, State>();
  return {
    stream(reqIds) {
      const said = new Map<string, State>();
      return {
        next(state) {
          const { reqId } = state;
          const last = said.get(reqId);
          const before = known.get(reqId);
          said.set(reqId, state);
          known.set(reqId, state);
          if (!reqIds.includes(reqId)) return `${reqId} was not asked for`;
          if (last !== undefined && isFinal(last)) return `${show(state)} after ${show(last)} on one stream`;
          if (last !== undefined && show(last) === show(state)) return `${show(state)} twice on one stream`;
          if (before !== undefined && isBackwards(before, state)) {
            return `${show(state)} after ${show(before)}${last === undefined ? ", from one stream to the next" : ""}`;
          }
          return undefined;
        },
        end() {
          const open = reqIds.filter((reqId) => {
            const last = said.get(reqId);
            return last === undefined || !isFinal(last);
          });
          return open.length === 0 ? undefined : `OK although ${open.length} statuses were not final`;
        },
      };
    },
  };
}

function isBackwards(before: State, state: State): boolean {
  if (state.createdAt !== before.createdAt) return state.createdAt < before.createdAt;
  return ranks[state.status] < ranks[before.status];
}

function show({ reqId, status, createdAt }: State): string {
  return `${status} of ${reqId}, created at ${createdAt},`;
}
