import type { Endpoint } from "../../endpoints/endpoint.ts";
import type { Life } from "../../endpoints/life.ts";
import type { Call } from "../../status/call.ts";
import type { Observe, Observer } from "../../status/observation.ts";
import type { HttpRequest, HttpResponse } from "../http.ts";
import type { Receive } from "../receiving.ts";

/** A route as the `google.api.http` option of an RPC spells it. */
export interface RestRoute {
  readonly observer: Observer;
  /** Whether a path, without its query, belongs to this route: with a value, without one, or with a malformed one. */
  matches(path: string): boolean;
  /** Answers a call that is admitted. */
  handle(request: HttpRequest, response: HttpResponse, call: Call): void;
}

/** What the routes are made of. */
export interface RestOptions {
  readonly endpoints: readonly Endpoint[];
  readonly life: Life;
  readonly observe: Observe;
  /** The longest wait that is granted, in milliseconds. */
  readonly maxWait: number;
  /** Of a request's body at most, in bytes. */
  readonly maxMessageSize: number;
  readonly receive: Receive;
}
