/** A state of a request, as a client that waits for it gets it. */
export interface State {
  readonly reqId: string;
  readonly status: "pending" | "processing" | "success" | "failure" | "gone";
  /** In seconds since 1970; 0 when the status is `gone`. */
  readonly createdAt: number;
  readonly error: string | undefined;
}

export function isFinal({ status }: State): boolean {
  return status === "success" || status === "failure" || status === "gone";
}

/** @param json the body of the documented REST answer. */
export function stateOfJson(reqId: string, json: string): State {
  const { status, createdAt, error } = JSON.parse(json);
  return { reqId, status, createdAt: Date.parse(createdAt) / 1000, error };
}

export function goneState(reqId: string): State {
  return { reqId, status: "gone", createdAt: 0, error: undefined };
}
