import { type Call, callerGone } from "../../status/call.ts";
import type { HttpResponse } from "../http.ts";

const callOf = Symbol("call");

/** A response with the call that it answers, so that all of them can share a listener. */
type WithCall = HttpResponse & { [callOf]?: Call };

/** Cancels a call once its response is over: nothing that it still does can reach its caller. */
export function cancelWhenClosed(response: HttpResponse, call: Call): void {
  (response as WithCall)[callOf] = call;
  response.on("close", cancelCall);
}

function cancelCall(this: WithCall): void {
  this[callOf]?.cancel(callerGone);
}
