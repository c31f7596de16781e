import type { State } from "../clients/states.ts";

/** A request whose status changes, with every final status that it has had or is about to have. */
export interface ChurnJob {
  readonly reqId: string;
  status: State["status"];
  /** Of its last attempt, in seconds since 1970. */
  createdAt: number;
  attempts: number;
  readonly finals: {
    readonly status: string;
    readonly createdAt: number;
    readonly error: string | undefined;
  }[];
}

/** Whether a client may have got this final status. */
export function hasBeen({ finals }: ChurnJob, { status, createdAt, error }: State): boolean {
  return finals.some(
    (each) => each.status === status && each.createdAt === createdAt && each.error === error,
  );
}
