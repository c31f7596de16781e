import { message } from "./postgres-messages.ts";

/** Adds `DEALLOCATE ALL` to what a client sends on one connection without TLS, and removes its answer. */
export interface Deallocation {
  /** @param sent of the client. @returns what the database is to be sent. */
  service(sent: Buffer): Buffer;
  /** @param answered by the database. @returns what the client is to be sent. */
  database(answered: Buffer): Buffer;
}

const statement = "DEALLOCATE ALL";
const query = message("Q", statement).bytes;
const answer = Buffer.concat([message("C", statement).bytes, message("Z", Buffer.from("I")).bytes]);

/** Close, Parse and Bind: what a statement of the extended protocol may begin with. */
const beginnings = ["C", "P", "B"].map((type) => type.charCodeAt(0));
const sync = message("S").bytes;

/** For a client that sends a statement in one write, and the next one after its answer: in between, the session is idle. */
export function createDeallocation(): Deallocation {
  let unanswered: Buffer = Buffer.alloc(0);
  return {
    service(sent) {
      const isWhole = beginnings.includes(sent[0] ?? 0) && sent.subarray(-sync.length).equals(sync);
      if (!isWhole) return sent;
      unanswered = answer;
      return Buffer.concat([query, sent]);
    },
    database(answered) {
      const length = Math.min(unanswered.length, answered.length);
      const isAnswer = answered.subarray(0, length).equals(unanswered.subarray(0, length));
      // A session that is ended answers with an error instead.
      unanswered = isAnswer ? unanswered.subarray(length) : Buffer.alloc(0);
      return isAnswer ? answered.subarray(length) : answered;
    },
  };
}
