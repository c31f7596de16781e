// A simulation of the Add Memory endpoint, which stores only the job.
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { errorBody } from "../src/protocols/error-bodies.ts";
import { parseReqId, type ReqId } from "../src/status/req-id.ts";

/** The request of Add Memory. */
export interface Insertion {
  readonly userId: string;
  readonly messages: readonly { readonly content: string }[];
}

/** Creates a job. @returns false for a duplicate of a live job. */
export type Submit = (reqId: ReqId, insertion: Insertion) => Promise<boolean>;

/** POST /add_memory: body `{"userId","messages":[{"role","content"}]}` → `{"ReqId","Msg"}`. */
export function createAddMemory(submit: Submit) {
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const answer = (status: number, json: string) =>
      response.writeHead(status, { "Content-Type": "application/json" }).end(json);
    const insertion = readInsertion(await text(request));
    if (insertion === undefined) return void answer(400, errorBody(400, "Request format is wrong"));
    if (insertion.messages.length === 0) return void answer(400, errorBody(400, "No messages provided"));
    const ReqId = reqIdOf(insertion);
    const Msg = (await submit(ReqId, insertion))
      ? "Memory Insertion Job has been queued for insertion!"
      : "Memory Insertion Job is already queued or processed successfully!";
    answer(200, JSON.stringify({ ReqId, Msg }));
  };
}

/** @returns undefined when the body does not have the documented form. Absent fields are empty. */
function readInsertion(body: string): Insertion | undefined {
  try {
    const { userId = "", messages } = JSON.parse(body);
    const contents = (messages ?? []).map(({ role, content }: Record<string, unknown>) => [role, content]);
    const texts = [userId, ...contents.flat()];
    return texts.every((text) => typeof text === "string") ? { userId, messages: messages ?? [] } : undefined;
  } catch {
    return undefined;
  }
}

/** The namespace for OIDs (RFC 9562, section 6.6). */
const oidNamespace = Buffer.from("6ba7b8129dad11d180b400c04fd430c8", "hex");

/** A deterministic id, so that a repeated request is a duplicate: UUID v5 (RFC 9562, section 5.5) of contents and user id. */
function reqIdOf({ userId, messages }: Insertion): ReqId {
  const name = messages.map(({ content }) => content).join("") + userId;
  const hash = createHash("sha1").update(oidNamespace).update(name).digest().subarray(0, 16);
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x50, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  return parseReqId(hash.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"));
}
