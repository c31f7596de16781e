import type { IncomingHttpHeaders } from "node:http";
import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import { unauthenticated } from "../status/status.ts";
import { createConnectAdapter } from "./connect-adapter.ts";
import { toConnectError } from "./errors.ts";
import type { GrpcUnaryLane } from "./grpc-unary.ts";
import { type HttpHandler, pathOf } from "./http.ts";
import { sendFailure } from "./rest.ts";
import type { Tokens } from "./tokens.ts";

/** What a listener hands requests to. */
interface Lanes {
  readonly handler: HttpHandler;
  readonly lane: GrpcUnaryLane | undefined;
}

interface GuardOptions {
  readonly tokens: Pick<Tokens, "accept">;
  /** The paths that are open to everybody: those by which machines find out how we are. */
  readonly open: ReadonlySet<string>;
  /** The RPCs, to refuse calls of them as their protocols say. */
  readonly rpcs: readonly ((router: ConnectRouter) => void)[];
}

/** Of a message that is read only to be refused, and of all of them at the same time, in bytes. */
const maxMessageSize = 2 ** 16;
const maxReceivingSize = 2 ** 22;

/**
 * Stands in front of every lane: what does not bear a token gets no further. The path that is compared is the one that
 * the lanes go by, and it is open only if it is one of those to the letter.
 */
export function guard({ handler, lane }: Lanes, options: GuardOptions): Lanes {
  const { tokens, open } = options;
  const refuse = createRefusal(options.rpcs);
  const mayPass = (path: string, { authorization }: IncomingHttpHeaders) =>
    open.has(path) || tokens.accept(authorization);

  return {
    handler(request, response) {
      if (mayPass(pathOf(request), request.headers)) return handler(request, response);
      refuse(request, response);
    },
    lane: lane && {
      collect: (router) => lane.collect(router),
      serve(stream, headers, flags, handOver) {
        if (mayPass(headers[":path"] ?? "", headers)) lane.serve(stream, headers, flags, handOver);
        // The way leads through the handler, which refuses it.
        else handOver(stream, headers, flags);
      },
    },
  };
}

/** Connect knows how each protocol says that a call is refused. What is no RPC is told as over REST. */
function createRefusal(rpcs: GuardOptions["rpcs"]): HttpHandler {
  return createConnectAdapter({
    routes: (router) => {
      for (const routes of rpcs) routes(refusing(router));
    },
    fallback: (request, response) => sendFailure(request, response, unauthenticated),
    maxMessageSize,
    maxReceivingSize,
  });
}

/** Registers services whose methods all refuse, whatever those do that are registered through it. */
function refusing(router: ConnectRouter): ConnectRouter {
  const registering: ConnectRouter = Object.create(router);
  registering.service = (service) => {
    const refusals: Record<string, unknown> = {};
    for (const { localName } of service.methods) refusals[localName] = refuse;
    router.service(service, refusals as Partial<ServiceImpl<typeof service>>);
    return registering;
  };
  return registering;
}

function refuse(): never {
  throw toConnectError(unauthenticated);
}
