import { execFile } from "node:child_process";
import { promisify } from "node:util";
import {
  create,
  createFileRegistry,
  type DescMessage,
  fromBinary,
  getOption,
  type Message,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import grpc from "@grpc/grpc-js";
import { GrpcReflection } from "grpc-js-reflection-client";
import { describe, expect, test } from "vitest";
import { health } from "../../src/endpoints/health.ts";
import { reflection } from "../../src/endpoints/reflection.ts";
import { StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { http } from "../../src/gen/google/api/annotations_pb.ts";
import { file_google_rpc_error_details } from "../../src/gen/google/rpc/error_details_pb.ts";
import * as v1 from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import * as v1alpha from "../../src/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { Health } from "../../src/gen/health/v1/health_pb.ts";
import { createReadiness } from "../../src/status/readiness.ts";
import { getStatusOf } from "../support/get-status.ts";
import { serveEndpoints } from "../support/serve.ts";

const reqId = "0b0f3f4e-6c1e-4f0a-9d57-3d0c8a1b2c3d";
const services = [
  "gomemory.status.v1.StatusService",
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];
const statusFile = "gomemory/status/v1/status.proto";
const descriptorFile = "google/protobuf/descriptor.proto";
const statusFiles = [
  statusFile,
  "google/api/annotations.proto",
  "google/api/http.proto",
  descriptorFile,
  "google/protobuf/duration.proto",
  "google/protobuf/timestamp.proto",
];
const soon = () => ({ deadline: Date.now() + 10_000 });

/** StatusService with one status, health, and reflection, which describes what is listed after it. */
async function start() {
  const readiness = createReadiness(() => Promise.resolve("ready"));
  const statuses = {
    find: (id: string) =>
      Promise.resolve({
        status: id === reqId ? ("success" as const) : ("pending" as const),
        createdAt: new Date("2026-03-03T21:44:15Z"),
      }),
  };
  const endpoints = [
    ...reflection(readiness, [StatusService, Health], [file_google_rpc_error_details]),
    ...health(readiness, [StatusService]),
    getStatusOf(statuses.find),
  ];
  const server = await serveEndpoints(endpoints, { shutdownTimeout: 10_000 });
  const address = `127.0.0.1:${server.address.port}`;
  const channel = new grpc.Channel(address, grpc.credentials.createInsecure(), {});
  return {
    address,
    /** The one connection of all clients. */
    channel,
    readiness,
    close: () => server[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      readiness.drain();
      channel.close();
      await this.close();
    },
  };
}

type App = Awaited<ReturnType<typeof start>>;
type RequestInit = NonNullable<MessageInitShape<typeof v1.ServerReflectionRequestSchema>["messageRequest"]>;
type Response = v1.ServerReflectionResponse | v1alpha.ServerReflectionResponse;

interface Version {
  readonly version: string;
  readonly request: DescMessage;
  readonly response: DescMessage;
}

const versions: readonly Version[] = [
  {
    version: "v1",
    request: v1.ServerReflectionRequestSchema,
    response: v1.ServerReflectionResponseSchema,
  },
  {
    version: "v1alpha",
    request: v1alpha.ServerReflectionRequestSchema,
    response: v1alpha.ServerReflectionResponseSchema,
  },
];

function clientOf(app: App): grpc.Client {
  return new grpc.Client(app.address, grpc.credentials.createInsecure(), { channelOverride: app.channel });
}

/** One stream of either version. */
function open(app: App, { version, request, response }: Version, options: grpc.CallOptions = soon()) {
  const call = clientOf(app).makeBidiStreamRequest<Message, Message>(
    `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
    (message) => Buffer.from(toBinary(request, message)),
    (bytes) => fromBinary(response, bytes),
    options,
  );
  const responses = call[Symbol.asyncIterator]();
  return {
    send(messageRequest: RequestInit, host = ""): void {
      call.write(create(request, { host, messageRequest }));
    },
    async next(): Promise<Response> {
      const { done, value } = await responses.next();
      if (done) throw new Error("the stream has ended");
      return value;
    },
    end: () => call.end(),
    status: new Promise<grpc.StatusObject>((resolve) => call.once("status", resolve)),
  };
}

function unary<Reply>(
  app: App,
  path: string,
  serialize: (request: object) => Buffer,
  deserialize: (bytes: Buffer) => Reply,
  request: object,
): Promise<Reply | undefined> {
  return new Promise((resolve, reject) => {
    clientOf(app).makeUnaryRequest(path, serialize, deserialize, request, soon(), (error, reply) => {
      if (error) reject(error);
      else resolve(reply);
    });
  });
}

const bySymbol = (value: string): RequestInit => ({ case: "fileContainingSymbol", value });
const byName = (value: string): RequestInit => ({ case: "fileByFilename", value });
const byExtension = (containingType: string, extensionNumber: number): RequestInit => ({
  case: "fileContainingExtension",
  value: { containingType, extensionNumber },
});
const extensionNumbers = (value: string): RequestInit => ({ case: "allExtensionNumbersOfType", value });
const listServices: RequestInit = { case: "listServices", value: "*" };

function filesOf({ messageResponse }: Response): FileDescriptorProto[] {
  if (messageResponse.case !== "fileDescriptorResponse") {
    throw new Error(`got ${JSON.stringify(messageResponse)}, want files`);
  }
  return messageResponse.value.fileDescriptorProto.map((bytes) =>
    fromBinary(FileDescriptorProtoSchema, bytes),
  );
}

const namesOf = (response: Response): string[] => filesOf(response).map((file) => file.name);

const found = [
  { what: "a file", request: byName(statusFile), file: statusFile },
  {
    what: "an import",
    request: byName(descriptorFile),
    file: descriptorFile,
  },
  { what: "a service", request: bySymbol("gomemory.status.v1.StatusService"), file: statusFile },
  { what: "a method", request: bySymbol("gomemory.status.v1.StatusService.GetStatus"), file: statusFile },
  { what: "a message", request: bySymbol("gomemory.status.v1.GetStatusRequest"), file: statusFile },
  { what: "a field", request: bySymbol("gomemory.status.v1.GetStatusRequest.req_id"), file: statusFile },
  {
    what: "a nested enum",
    request: bySymbol("gomemory.status.v1.GetStatusResponse.Status"),
    file: statusFile,
  },
  { what: "its value", request: bySymbol("gomemory.status.v1.GetStatusResponse.pending"), file: statusFile },
  {
    what: "its value under the enum's name",
    request: bySymbol("gomemory.status.v1.GetStatusResponse.Status.pending"),
    file: statusFile,
  },
  {
    what: "a top-level enum",
    request: bySymbol("google.protobuf.Edition"),
    file: descriptorFile,
  },
  { what: "its value", request: bySymbol("google.protobuf.EDITION_2023"), file: descriptorFile },
  { what: "an extension", request: bySymbol("google.api.http"), file: "google/api/annotations.proto" },
  { what: "a oneof", request: bySymbol("google.api.HttpRule.pattern"), file: "google/api/http.proto" },
  { what: "a field in a oneof", request: bySymbol("google.api.HttpRule.get"), file: "google/api/http.proto" },
  {
    what: "a nested message",
    request: bySymbol("google.protobuf.DescriptorProto.ExtensionRange"),
    file: descriptorFile,
  },
  {
    what: "a map's entries",
    request: bySymbol("grpc.health.v1.HealthListResponse.StatusesEntry"),
    file: "health/v1/health.proto",
  },
  {
    what: "a type of error details",
    request: bySymbol("google.rpc.ErrorInfo"),
    file: "google/rpc/error_details.proto",
  },
  {
    what: "a symbol with a leading dot",
    request: bySymbol(".gomemory.status.v1.GetStatusRequest"),
    file: statusFile,
  },
  {
    what: "an extension by number",
    request: byExtension("google.protobuf.MethodOptions", 72295728),
    file: "google/api/annotations.proto",
  },
  {
    what: "an extension by number, of a type with a leading dot",
    request: byExtension(".google.protobuf.MethodOptions", 72295728),
    file: "google/api/annotations.proto",
  },
];

const refused = [
  { request: byName("nobody.proto"), message: 'file "nobody.proto" is unknown' },
  { request: byName(""), message: 'file "" is unknown' },
  { request: bySymbol("acme.Nobody"), message: 'symbol "acme.Nobody" is unknown' },
  { request: bySymbol(""), message: 'symbol "" is unknown' },
  { request: bySymbol("gomemory.status.v1"), message: 'symbol "gomemory.status.v1" is unknown' },
  {
    request: byExtension("google.protobuf.MethodOptions", 7),
    message: 'message "google.protobuf.MethodOptions" has no known extension 7',
  },
  { request: byExtension("acme.Nobody", 1), message: 'message "acme.Nobody" has no known extension 1' },
  { request: extensionNumbers("acme.Nobody"), message: 'message "acme.Nobody" is unknown' },
  {
    request: extensionNumbers("gomemory.status.v1.StatusService"),
    message: 'message "gomemory.status.v1.StatusService" is unknown',
  },
];

describe.each(versions)("grpc.reflection.$version", (version) => {
  test("finds by file, symbol and extension", async () => {
    await using app = await start();
    for (const { what, request, file } of found) {
      const call = open(app, version);
      call.send(request);
      call.end();
      expect(namesOf(await call.next())[0], what).toBe(file);
      expect(await call.status, what).toMatchObject({ code: grpc.status.OK });
    }
  });

  test("answers what is unknown with NOT_FOUND, and goes on", async () => {
    await using app = await start();
    const call = open(app, version);
    for (const { request, message } of refused) {
      call.send(request);
      expect((await call.next()).messageResponse).toMatchObject({
        case: "errorResponse",
        value: { errorCode: grpc.status.NOT_FOUND, errorMessage: message },
      });
    }
    call.send(byName(statusFile));
    expect(namesOf(await call.next())).toEqual(statusFiles);
  });

  test("answers a request for nothing with INVALID_ARGUMENT, and goes on", async () => {
    await using app = await start();
    const call = open(app, version);
    call.send({ case: undefined });
    expect((await call.next()).messageResponse).toMatchObject({
      case: "errorResponse",
      value: {
        errorCode: grpc.status.INVALID_ARGUMENT,
        errorMessage: "message_request is missing: want one of its fields set",
      },
    });
    call.send(listServices);
    expect((await call.next()).messageResponse.case).toBe("listServicesResponse");
  });

  test("lists every service in order, whatever the pattern", async () => {
    await using app = await start();
    const call = open(app, version);
    for (const value of ["", "*", "acme"]) {
      call.send({ case: "listServices", value });
      expect((await call.next()).messageResponse).toMatchObject({
        case: "listServicesResponse",
        value: { service: services.map((name) => ({ name })) },
      });
    }
  });

  test("lists the numbers of a message's extensions", async () => {
    await using app = await start();
    const call = open(app, version);
    const numbers = {
      "google.protobuf.MethodOptions": [72295728],
      "gomemory.status.v1.GetStatusRequest": [],
    };
    for (const [baseTypeName, extensionNumber] of Object.entries(numbers)) {
      for (const asked of [baseTypeName, `.${baseTypeName}`]) {
        call.send(extensionNumbers(asked));
        const { case: kind, value } = (await call.next()).messageResponse;
        expect(kind).toBe("allExtensionNumbersResponse");
        expect(value).toMatchObject({ baseTypeName, extensionNumber });
      }
    }
  });

  test("answers in order, with the request and its host", async () => {
    await using app = await start();
    const call = open(app, version);
    const requests = [
      listServices,
      bySymbol("acme.Nobody"),
      byName(statusFile),
      extensionNumbers("google.api.Http"),
    ];
    requests.forEach((request, index) => void call.send(request, `host-${index}`));
    call.end();
    for (const [index, request] of requests.entries()) {
      const response = await call.next();
      expect(response.validHost).toBe(`host-${index}`);
      expect(response.originalRequest).toMatchObject({ host: `host-${index}`, messageRequest: request });
    }
    await expect(call.next()).rejects.toThrow("the stream has ended");
    expect(await call.status).toMatchObject({ code: grpc.status.OK });
  });

  test("sends the file first, and each import once a stream; who asks for one by name gets it again", async () => {
    await using app = await start();
    const call = open(app, version);
    call.send(bySymbol("gomemory.status.v1.StatusService"));
    expect(namesOf(await call.next())).toEqual(statusFiles);
    call.send(bySymbol("gomemory.status.v1.GetStatusResponse"));
    expect(namesOf(await call.next())).toEqual([statusFile]);
    call.send(byName("google/api/annotations.proto"));
    expect(namesOf(await call.next())).toEqual(["google/api/annotations.proto"]);
    call.send(bySymbol("google.rpc.ErrorInfo"));
    // What it imports has come with the first file.
    expect(namesOf(await call.next())).toEqual(["google/rpc/error_details.proto"]);

    const other = open(app, version);
    other.send(byName(statusFile));
    expect(namesOf(await other.next())).toEqual(statusFiles);
  });

  test("descriptors keep their custom options", async () => {
    await using app = await start();
    const call = open(app, version);
    call.send(bySymbol("gomemory.status.v1.StatusService"));
    const [file, ...imports] = filesOf(await call.next());
    const registry = file && createFileRegistry(file, (name) => imports.find((each) => each.name === name));
    const method = registry?.getService("gomemory.status.v1.StatusService")?.method.getStatus;
    expect(method && getOption(method, http).pattern).toEqual({ case: "get", value: "/get_status/{req_id}" });
  });

  test("an idle stream ends with UNAVAILABLE on drain, and does not hold up the server's close", async () => {
    await using app = await start();
    const call = open(app, version);
    call.send(listServices);
    await call.next();
    const next = call.next();
    app.readiness.drain();
    const closed = app.close();
    await expect(next).rejects.toMatchObject({
      code: grpc.status.UNAVAILABLE,
      details: "the server is shutting down",
    });
    await closed;
  });

  test("an idle stream ends with the caller's deadline", async () => {
    await using app = await start();
    const call = open(app, version, { deadline: Date.now() + 100 });
    await expect(call.next()).rejects.toMatchObject({ code: grpc.status.DEADLINE_EXCEEDED });
  });

  describe("serves grpc-js-reflection-client", () => {
    const reflect = (app: App) =>
      new GrpcReflection(
        app.address,
        grpc.credentials.createInsecure(),
        { channelOverride: app.channel },
        version.version,
      );

    test("lists services, and calls a method that it found", async () => {
      await using app = await start();
      expect(await reflect(app).listServices()).toEqual(services);
      const methods = await reflect(app).listMethods("grpc.health.v1.Health");
      expect(methods.map(({ name }) => name)).toEqual(["Check", "Watch", "List"]);
      const check = methods[0]?.definition;
      if (!check) throw new Error("Health has no method");
      const reply = await unary(app, check.path, check.requestSerialize, check.responseDeserialize, {});
      expect(reply).toEqual({ status: "SERVING" });
    });

    test("calls GetStatus as the client prepared it", async () => {
      await using app = await start();
      const [getStatus] = await reflect(app).listMethods("gomemory.status.v1.StatusService");
      if (getStatus === undefined) throw new Error("StatusService has no method");
      const { path, requestSerialize, responseDeserialize } = getStatus.definition;
      const status = await unary(app, path, requestSerialize, responseDeserialize, { req_id: reqId });
      expect(status).toEqual({ status: "success", created_at: { seconds: "1772574255" } });
    });

    for (const by of ["symbol", "file name"]) {
      test(`calls GetStatus with descriptors found by ${by}`, async () => {
        await using app = await start();
        const descriptor =
          by === "symbol"
            ? await reflect(app).getDescriptorBySymbol("gomemory.status.v1.StatusService")
            : await reflect(app).getDescriptorByFileName(statusFile);
        const { methods } = descriptor.getProtobufJsRoot().lookupService("gomemory.status.v1.StatusService");
        methods.GetStatus?.resolve();
        const request = methods.GetStatus?.resolvedRequestType;
        const response = methods.GetStatus?.resolvedResponseType;
        if (!request || !response) throw new Error("the types of GetStatus are not resolved");
        const status = await unary(
          app,
          "/gomemory.status.v1.StatusService/GetStatus",
          (message) => Buffer.from(request.encode(request.fromObject(message)).finish()),
          (bytes) => response.toObject(response.decode(bytes), { enums: String, longs: String }),
          { reqId },
        );
        expect(status).toMatchObject({ status: "success", createdAt: { seconds: "1772574255" } });
      });
    }
  });
});

test("serves buf curl, which has no schema of its own", async () => {
  await using app = await start();
  const curl = async (...args: string[]) => {
    const { stdout } = await promisify(execFile)(
      "node_modules/.bin/buf",
      ["curl", "--http2-prior-knowledge", "--protocol", "grpc", ...args],
      { timeout: 20_000 },
    );
    return stdout;
  };
  const base = `http://${app.address}`;
  const [listed, status] = await Promise.all([
    curl("--list-services", base),
    curl("--data", JSON.stringify({ req_id: reqId }), `${base}/gomemory.status.v1.StatusService/GetStatus`),
  ]);
  expect(listed.trim().split("\n")).toEqual(services);
  expect(JSON.parse(status)).toEqual({ status: "success", createdAt: "2026-03-03T21:44:15Z" });
}, 30_000);
