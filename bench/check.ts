import { setTimeout as pause } from "node:timers/promises";
import { inspect, isDeepStrictEqual } from "node:util";
import { create, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { GetStatusRequestSchema, GetStatusResponseSchema } from "../src/gen/gomemory/status/v1/status_pb.ts";
import type { Candidate } from "./candidates.ts";
import type { Table } from "./database.ts";
import { answerOf, idOf } from "./rows.ts";

const unknownId = "00000000-0000-4000-8000-000000000000";
const malformedId = "not-a-uuid";
const failed = "We are experiencing some techincal issues right now. Please try again after some time!";

const startTimeout = 15_000;
const pollInterval = 5;

type GetStatus = (id: string) => Promise<unknown>;

/**
 * Waits until a server is ready, then requests every outcome of the contract from it.
 *
 * @param signal cancels the wait.
 * @returns when the server was ready, in milliseconds of `performance.now()`: a service when it said so, a peer when its first
 *   answer was right.
 * @throws Error at a wrong answer; the signal's reason.
 */
export async function checkCandidate(
  candidate: Candidate,
  port: number,
  table: Table,
  signal?: AbortSignal,
): Promise<number> {
  const { getStatus, close } = candidate.protocol === "rest" ? rest(port) : grpc(port);
  try {
    const outcome = outcomes[candidate.protocol];
    const first = outcome.found(answerOf(0, table.base));
    if (candidate.checkout !== undefined) await untilAnswered(readiness(port), 200, signal);
    else await untilAnswered(getStatus, candidate.constant === undefined ? first : undefined, signal);
    const readyAt = performance.now();
    if (candidate.constant !== undefined) return readyAt;
    await expect(candidate, getStatus, idOf(0), first);
    for (let row = 1; row < 4; row++) {
      await expect(candidate, getStatus, idOf(row), outcome.found(answerOf(row, table.base)));
    }
    await expect(candidate, getStatus, table.expiredId, outcome.notFound);
    await expect(candidate, getStatus, unknownId, outcome.notFound);
    await expect(candidate, getStatus, malformedId, outcome.malformed);
    return readyAt;
  } finally {
    close();
  }
}

const outcomes = {
  rest: {
    found: (body: object): unknown => ({ code: 200, body }),
    notFound: { code: 500, body: { Error: failed } },
    malformed: { code: 400, body: { Error: "Bad Request" } },
  },
  grpc: {
    found: (body: object): unknown => body,
    notFound: { code: status.NOT_FOUND },
    malformed: { code: status.INVALID_ARGUMENT },
  },
};

async function expect(
  candidate: Candidate,
  getStatus: GetStatus,
  id: string,
  wanted: unknown,
): Promise<void> {
  const got = await getStatus(id);
  if (isDeepStrictEqual(got, wanted)) return;
  throw new Error(`${candidate.name}, ${id}: got ${JSON.stringify(got)}, want ${JSON.stringify(wanted)}`);
}

/** @param wanted undefined: any answer that is not a refused connection. */
async function untilAnswered(getStatus: GetStatus, wanted: unknown, signal?: AbortSignal): Promise<void> {
  const deadline = performance.now() + startTimeout;
  for (;;) {
    const answer = await getStatus(idOf(0)).catch((error: Error) => error);
    const refused = answer instanceof Error || isDeepStrictEqual(answer, { code: status.UNAVAILABLE });
    if (wanted === undefined ? !refused : isDeepStrictEqual(answer, wanted)) return;
    if (performance.now() > deadline) {
      throw new Error(`no right answer within ${startTimeout} ms, but ${inspect(answer)}`);
    }
    await pause(pollInterval, undefined, signal && { signal });
  }
}

/** The status code of the service's own readiness check. */
function readiness(port: number): GetStatus {
  return async () => {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`);
    await response.body?.cancel();
    return response.status;
  };
}

function rest(port: number): { getStatus: GetStatus; close(): void } {
  return {
    async getStatus(id) {
      const response = await fetch(`http://127.0.0.1:${port}/get_status/${id}`);
      const body = (await response.json()) as { Error?: string };
      // The peers send only this field of the documented error body; the service sends all of them.
      return { code: response.status, body: response.ok ? body : { Error: body.Error } };
    },
    close() {},
  };
}

function grpc(port: number): { getStatus: GetStatus; close(): void } {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 50,
  });
  return {
    getStatus: (id) =>
      new Promise((resolve) => {
        client.makeUnaryRequest(
          "/gomemory.status.v1.StatusService/GetStatus",
          (reqId: string) =>
            Buffer.from(toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId }))),
          (message) => toJson(GetStatusResponseSchema, fromBinary(GetStatusResponseSchema, message)),
          id,
          (error: ServiceError | null, answer: unknown) =>
            resolve(error === null ? answer : { code: error.code }),
        );
      }),
    close: () => client.close(),
  };
}
