// `npm run demo`: the service with simulated jobs, for trying out clients that poll it or wait.

import { exitCodes } from "../src/commands/exit-codes.ts";
import { runUntilTerminated } from "../src/commands/run-until-terminated.ts";
import { readConfig } from "../src/config/config.ts";
import { whenAborted } from "../src/status/abort.ts";
import { startDemo } from "./demo.ts";

// Simulated jobs must not reach a real database, and the demo calls its service without TLS.
const overrides = {
  DATABASE_URL: undefined,
  TLS_CERT: undefined,
  TLS_KEY: undefined,
  TLS_CLIENT_CA: undefined,
};
const config = readConfig({ ...process.env, ...overrides }, "serve");
process.exitCode = await runUntilTerminated(config, exitCodes.success, async ({ log, output, signal }) => {
  output.print("A simulation: Add Memory without any embedding, in front of the real status service.\n");
  await using demo = await startDemo(config, log, signal, 3_000);
  output.print(`
Add a memory, and ask for its status, now or when it is done. A message with the word "fail" makes its job fail:
  curl -d '{"userId":"mario","messages":[{"role":"user","content":"Wario is my brother"}]}' http://localhost:${demo.port}/add_memory
  curl http://localhost:${demo.port}/get_status/<ReqId>
  curl 'http://localhost:${demo.port}/get_status/<ReqId>?wait=30s'
The service itself, with gRPC, is on port ${demo.servicePort}.

`);
  await whenAborted(signal);
});
