import {
  type DescEnum,
  type DescExtension,
  type DescFile,
  type DescMessage,
  type DescService,
  toBinary,
} from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import * as v1 from "../gen/grpc/reflection/v1/reflection_pb.ts";
import * as v1alpha from "../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import type { Call } from "../status/call.ts";
import type { Readiness } from "../status/readiness.ts";
import type { BidiStreamingEndpoint, Endpoint } from "./endpoint.ts";

/**
 * grpc.reflection.v1 and v1alpha, by which tools such as grpcurl and `buf curl` work without the `.proto` files.
 *
 * What is unknown is answered with an ErrorResponse, and the stream goes on. Streams that are still open on
 * drain end with UNAVAILABLE: tools keep them open while idle, and GOAWAY waits for every stream.
 *
 * @param services those that are served, besides reflection itself.
 * @param files to be found besides those that the services need, such as the types of error details.
 */
export function reflection(
  readiness: Pick<Readiness, "drained">,
  services: readonly DescService[],
  files: readonly DescFile[] = [],
): Endpoint[] {
  const index = once(() => indexSchema([...services, v1.ServerReflection, v1alpha.ServerReflection], files));

  async function* converse(requests: AsyncIterable<ReflectionRequest>, call: Call) {
    const schema = index();
    const sent = new Set<DescFile>();
    for await (const request of untilDrained(requests, readiness, call)) {
      yield {
        validHost: request.host,
        originalRequest: request,
        messageResponse: answer(schema, sent, request.messageRequest),
      };
    }
  }

  const { serverReflectionInfo: ofV1 } = v1.ServerReflection.method;
  const { serverReflectionInfo: ofV1alpha } = v1alpha.ServerReflection.method;
  return [
    { method: ofV1, heldAs: "reflection", handle: converse } as BidiStreamingEndpoint,
    { method: ofV1alpha, heldAs: "reflection", handle: converse } as BidiStreamingEndpoint,
  ];
}

/** Most instances are never asked for their schema. */
function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

type ReflectionRequest = v1.ServerReflectionRequest | v1alpha.ServerReflectionRequest;

/** What there is to tell. Names are fully qualified, without a leading dot. */
interface Schema {
  readonly services: readonly string[];
  readonly files: ReadonlyMap<string, DescFile>;
  readonly symbols: ReadonlyMap<string, DescFile>;
  /** By the name of the extended message, then by number; empty for a message without extensions. */
  readonly extensions: ReadonlyMap<string, ReadonlyMap<number, DescFile>>;
}

function indexSchema(services: readonly DescService[], extraFiles: readonly DescFile[]): Schema {
  const files = new Set<DescFile>();
  for (const service of services) addWithImports(service.file, files);
  for (const file of extraFiles) addWithImports(file, files);

  const symbols = new Map<string, DescFile>();
  const extensions = new Map<string, Map<number, DescFile>>();
  for (const file of files) {
    for (const type of nestedTypes(file)) {
      for (const name of namesIn(type)) symbols.set(name, file);
      if (type.kind === "message" && !extensions.has(type.typeName)) extensions.set(type.typeName, new Map());
      if (type.kind === "extension") {
        const numbers = extensions.get(type.extendee.typeName) ?? new Map<number, DescFile>();
        extensions.set(type.extendee.typeName, numbers.set(type.number, file));
      }
    }
  }
  return {
    services: services.map((service) => service.typeName).sort(),
    files: new Map(Array.from(files, (file) => [file.proto.name, file])),
    symbols,
    extensions,
  };
}

/** Adds the file first, then its imports, then theirs. */
function addWithImports(file: DescFile, files: Set<DescFile>): void {
  if (files.has(file)) return;
  files.add(file);
  for (const imported of file.dependencies) addWithImports(imported, files);
}

/** The type's own name, and those of its members. */
function* namesIn(type: DescMessage | DescEnum | DescExtension | DescService): Iterable<string> {
  yield type.typeName;
  const member = ({ name }: { readonly name: string }) => `${type.typeName}.${name}`;
  switch (type.kind) {
    case "message":
      yield* type.fields.map(member);
      yield* type.oneofs.map(member);
      // A map's entries are a message that no list of nested messages names.
      for (const { fieldKind, proto } of type.fields)
        if (fieldKind === "map") yield withoutDot(proto.typeName);
      break;
    case "enum": {
      // Values are siblings of their enum, as in C++. The other form is what most people would write.
      const scope = type.parent?.typeName ?? type.file.proto.package;
      yield* type.values.map(({ name }) => (scope === "" ? name : `${scope}.${name}`));
      yield* type.values.map(member);
      break;
    }
    case "service":
      yield* type.methods.map(member);
      break;
  }
}

function answer(schema: Schema, sent: Set<DescFile>, request: ReflectionRequest["messageRequest"]) {
  switch (request.case) {
    case "listServices":
      return {
        case: "listServicesResponse",
        value: { service: schema.services.map((name) => ({ name })) },
      } as const;
    case "fileByFilename": {
      const file = schema.files.get(request.value);
      return file ? filesFor(file, sent) : notFound(`file ${JSON.stringify(request.value)} is unknown`);
    }
    case "fileContainingSymbol": {
      const file = schema.symbols.get(withoutDot(request.value));
      return file ? filesFor(file, sent) : notFound(`symbol ${JSON.stringify(request.value)} is unknown`);
    }
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = request.value;
      const file = schema.extensions.get(withoutDot(containingType))?.get(extensionNumber);
      return file
        ? filesFor(file, sent)
        : notFound(`message ${JSON.stringify(containingType)} has no known extension ${extensionNumber}`);
    }
    case "allExtensionNumbersOfType": {
      const baseTypeName = withoutDot(request.value);
      const numbers = schema.extensions.get(baseTypeName);
      if (!numbers) return notFound(`message ${JSON.stringify(request.value)} is unknown`);
      const extensionNumber = [...numbers.keys()].sort((a, b) => a - b);
      return { case: "allExtensionNumbersResponse", value: { baseTypeName, extensionNumber } } as const;
    }
    default:
      return failure(Code.InvalidArgument, "message_request is missing: want one of its fields set");
  }
}

/** The file itself in any case, first; of all that it imports, what this stream has not had yet. */
function filesFor(file: DescFile, sent: Set<DescFile>) {
  const needed = new Set<DescFile>();
  addWithImports(file, needed);
  const fresh = [...needed].filter((each) => each === file || !sent.has(each));
  for (const each of fresh) sent.add(each);
  const fileDescriptorProto = fresh.map((each) => toBinary(FileDescriptorProtoSchema, each.proto));
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } } as const;
}

function notFound(message: string) {
  return failure(Code.NotFound, message);
}

/** @param errorCode Connect's codes are numbered as gRPC's are. */
function failure(errorCode: Code, errorMessage: string) {
  return { case: "errorResponse", value: { errorCode, errorMessage } } as const;
}

/** Type references in descriptors begin with a dot, and some clients ask with what they find there. */
function withoutDot(name: string): string {
  return name.replace(/^\./, "");
}

async function* untilDrained<T>(
  requests: AsyncIterable<T>,
  readiness: Pick<Readiness, "drained">,
  call: Call,
): AsyncIterable<T> {
  const iterator = requests[Symbol.asyncIterator]();
  const drained = readiness.drained(call.signal);
  for (;;) {
    const next = await Promise.race([iterator.next(), drained]);
    // The call's cancellation settles `drained`, too.
    if (call.cancelled) return;
    if (!next) throw new ConnectError("the server is shutting down", Code.Unavailable);
    if (next.done) return;
    yield next.value;
  }
}
