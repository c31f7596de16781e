import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GetStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { connectGet, framed, getStatusPath, overEvery, post, send } from "../support/calls.ts";
import { useKnownJob } from "../support/known-job.ts";

/** A wait that lasts longer than a client may take to send a request or to read an answer, in milliseconds. */
const wait = 800;
const peerTimeout = "100ms";

const job = useKnownJob();

/** Each form of a request that waits: those without a body end with their headers. */
function waits() {
  const message = toBinary(
    GetStatusRequestSchema,
    create(GetStatusRequestSchema, { reqId: job.reqId, wait: durationFromMs(wait) }),
  );
  const json = { reqId: job.reqId, wait: `${wait / 1_000}s` };
  const body = Buffer.from(JSON.stringify(json));
  const { reqId } = job;
  return [
    ...overEvery("REST", "rest", { method: "GET", path: `/get_status/${reqId}?wait=${wait}ms` }),
    ...overEvery("Connect, GET", "connect", connectGet(getStatusPath, json)),
    ...overEvery("Connect, POST", "connect", post(getStatusPath, "application/json", body)),
    ...overEvery("gRPC-Web", "grpc-web", post(getStatusPath, "application/grpc-web", framed(message))),
    ...overEvery("gRPC", "grpc", post(getStatusPath, "application/grpc", framed(message))),
  ];
}

describe.for(["on", "off"])("with the fast path %s", (fastPath) => {
  let app: TestApp;

  beforeAll(async () => {
    const { DATABASE_URL } = job.env;
    app = await startTestApp({ DATABASE_URL, PEER_TIMEOUT: peerTimeout, GRPC_FAST_PATH: fastPath });
  });

  afterAll(() => app[Symbol.asyncDispose]());

  test("a wait that is longer than PEER_TIMEOUT is answered, over every protocol", async () => {
    const answers = await Promise.all(
      waits().map(async (call) => {
        const { status, headers, body, ...rest } = await send(call, app.url);
        const end = JSON.stringify({ ...headers, ...rest });
        return [call.name, status, body.length > 0, /grpc-status":"[^0]/.test(end)];
      }),
    );
    expect(answers).toEqual(waits().map(({ name }) => [name, 200, true, false]));
  });
});
