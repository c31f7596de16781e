/** The load generator, a process of its own. Receives phases as messages, one at a time, and sends the result of each. */
import { writeFileSync } from "node:fs";
import { type Phase, type PhaseResult, runPhase } from "./load/phase.ts";

/** The message after a phase. */
export type LoadMessage = { readonly result: PhaseResult } | { readonly error: string };

writeFileSync("/proc/self/timerslack_ns", "1");

process.on("message", (phase: Phase) => {
  runPhase(phase).then(
    (result) => process.send?.({ result } satisfies LoadMessage),
    (error: Error) => process.send?.({ error: error.message } satisfies LoadMessage),
  );
});
