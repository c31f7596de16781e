/** `npm run bench:micro`: the parts of a call, each beside its alternative. Compare ratios: absolute figures are the machine's. */
import { randomUUID } from "node:crypto";
import { create, fromBinary, toBinary, toJsonString } from "@bufbuild/protobuf";
import { Histogram as PromHistogram, Registry } from "prom-client";
import type { ServerStreamingEndpoint } from "../src/endpoints/endpoint.ts";
import { getStatus } from "../src/endpoints/get-status.ts";
import { createLife } from "../src/endpoints/life.ts";
import { toResponse } from "../src/endpoints/status-message.ts";
import { watchStatus } from "../src/endpoints/watch-status.ts";
import { GetStatusRequestSchema, GetStatusResponseSchema } from "../src/gen/gomemory/status/v1/status_pb.ts";
import { getStatusCodec } from "../src/protocols/grpc/status-codec.ts";
import { statusJson } from "../src/protocols/rest/status-json.ts";
import { createAdmission } from "../src/status/admission.ts";
import { Call } from "../src/status/call.ts";
import { createHolds } from "../src/status/holds.ts";
import { parseReqId } from "../src/status/req-id.ts";
import type { JobStatus } from "../src/status/status.ts";
import { Histogram } from "../src/telemetry/metrics/histogram.ts";
import { compare, repeat, repeatAsync } from "./micro/compare.ts";
import { compareReads } from "./micro/reads.ts";

const reqId = parseReqId(randomUUID());
const status: JobStatus = { status: "success", createdAt: new Date("2026-03-03T21:44:15Z") };
const message = create(GetStatusResponseSchema, toResponse(status));
const requestBytes = Buffer.from(toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId })));

await compare("reading a request", 200_000, [
  { name: "status-codec", run: repeat(() => getStatusCodec.decode(requestBytes, 0)) },
  { name: "protobuf-es", run: repeat(() => fromBinary(GetStatusRequestSchema, requestBytes)) },
]);
await compare("parsing an id", 500_000, [{ name: "parseReqId", run: repeat(() => parseReqId(reqId)) }]);
await compare("writing a status in protobuf", 200_000, [
  { name: "status-codec", run: repeat(() => getStatusCodec.encode(toResponse(status), 5)) },
  {
    name: "protobuf-es",
    run: repeat(() => toBinary(GetStatusResponseSchema, create(GetStatusResponseSchema, toResponse(status)))),
  },
]);
await compare("writing a status in JSON", 200_000, [
  { name: "rest.ts", run: repeat(() => statusJson(toResponse(status))) },
  {
    name: "protobuf-es, from a prepared message",
    run: repeat(() => toJsonString(GetStatusResponseSchema, message)),
  },
]);

const noWatching = { wait: () => Promise.reject(), watch: () => ReadableStream.from([]) };
const watch = watchStatus(noWatching) as ServerStreamingEndpoint;
const endpoint = getStatus({ find: () => Promise.resolve(status) }, noWatching, watch);
const life = createLife({
  admission: createAdmission({ maxInFlight: 5_000, maxWhenBusy: 200 }),
  holds: createHolds({ maxWaiting: 1_000, maxConcurrentStreams: 100 }),
  requestTimeout: 2_000,
});
const request = create(GetStatusRequestSchema, { reqId });
await compare("a call of GetStatus, whose status is at hand", 200_000, [
  { name: "life.ts", run: repeatAsync(() => life.unary(endpoint, request, new Call())) },
  { name: "the endpoint's handler alone", run: repeatAsync(() => endpoint.handle(request, new Call())) },
]);

const buckets = { name: "h", help: "h", buckets: [1e-4, 1e-3, 1e-2, 1e-1, 1] };
const labels = { protocol: "rest", method: "GetStatus", code: "OK" };
const ours = new Histogram(new Registry(), buckets).series(labels);
const theirs = new PromHistogram({ ...buckets, labelNames: Object.keys(labels) as "code"[], registers: [] });
await compare("counting a call", 500_000, [
  { name: "our histogram", run: repeat(() => ours.observe(0.002)) },
  { name: "prom-client's histogram", run: repeat(() => theirs.observe(labels, 0.002)) },
]);

await compareReads();
