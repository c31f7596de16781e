import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { endStreamFlag, endStreamToJson, errorToJson } from "@connectrpc/connect/protocol-connect";
import { trailerFlag, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { challenge, toConnectError } from "../endpoints/errors.ts";
import type { Begun } from "../protocols/begin-call.ts";
import { toTrailers } from "../protocols/grpc/trailers.ts";
import { type HttpRequest, type HttpResponse, sendGrpcError, sendJson } from "../protocols/http.ts";
import { mediaTypeOf } from "../protocols/media-type.ts";
import { answerFailure } from "../protocols/rest/failure.ts";
import { unauthenticated } from "../status/errors.ts";
import type { ProtocolName } from "../status/observation.ts";

/** The answer to a caller without a known token, made once for all of them. */
const error = toConnectError(unauthenticated);
const trailers = toTrailers(error);
const connectError = JSON.stringify(errorToJson(error, undefined));
const endOfConnectStream = encodeEnvelope(
  endStreamFlag,
  new TextEncoder().encode(JSON.stringify(endStreamToJson(new Headers(), error, undefined))),
);
const endOfGrpcWeb = encodeEnvelope(trailerFlag, trailerSerialize(trailers));

/**
 * Refuses a call without a known token: from its headers alone, in the form of its protocol.
 *
 * Its body is discarded, for as long as a client may take to send a request (PEER_TIMEOUT). Over HTTP/2 a reset could end that
 * at once (RFC 9113, section 8.1), but clients on node:http2 then lose the answer in front of it.
 *
 * @param protocol "rest" for everything that is no RPC and does not claim to be gRPC.
 */
export function refuseUnknownCaller(
  protocol: ProtocolName,
  request: HttpRequest,
  response: HttpResponse,
  { call, observation }: Begun,
): void {
  request.resume();
  const type = mediaTypeOf(request.headers["content-type"]);
  const format = /\+(json|proto)/.exec(type)?.[1] ?? "proto";
  if (protocol === "grpc") {
    sendGrpcError(response, `application/grpc+${format}`, trailers);
  } else if (protocol === "grpc-web" && !type.startsWith("application/grpc-web-text")) {
    sendBytes(response, `application/grpc-web+${format}`, endOfGrpcWeb);
  } else if (protocol === "connect" && type.startsWith("application/connect+")) {
    sendBytes(response, `application/connect+${format}`, endOfConnectStream);
  } else if (protocol === "connect") {
    sendJson(request, response, 401, connectError, challenge);
  } else {
    // The clients of gRPC-Web as text, which is not served, go by the status of HTTP.
    answerFailure(request, response, call, observation, unauthenticated);
  }
}

function sendBytes(response: HttpResponse, type: string, bytes: Uint8Array): void {
  response.writeHead(200, { "Content-Type": type, "Content-Length": bytes.length });
  response.end(bytes);
}
