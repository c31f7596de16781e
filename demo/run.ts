// A simulator, for trying out what polls the service: `npm run demo`.

import { exitCodes } from "../src/commands/exit-codes.ts";
import { runUntilTerminated } from "../src/commands/run-until-terminated.ts";
import { readConfig } from "../src/config/config.ts";
import { whenAborted } from "../src/status/abort.ts";
import { startDemo } from "./demo.ts";

// Simulated jobs belong into no database but its own, and what speaks to its service speaks without TLS.
const others = { DATABASE_URL: undefined, TLS_CERT: undefined, TLS_KEY: undefined, TLS_CLIENT_CA: undefined };
const config = readConfig({ ...process.env, ...others }, "serve");
process.exitCode = await runUntilTerminated(config, exitCodes.success, async ({ log, output, signal }) => {
  output.print("A simulator: Add Memory, which embeds nothing, in front of the real status service.\n");
  await using demo = await startDemo(config, log, signal, 3_000);
  output.print(`
Add a memory, and ask how it goes. A message with the word "fail" makes its job fail:
  curl -d '{"userId":"mario","messages":[{"role":"user","content":"Wario is my brother"}]}' http://localhost:${demo.port}/add_memory
  curl http://localhost:${demo.port}/get_status/<ReqId>
The service itself, with gRPC, is on port ${demo.servicePort}.

`);
  await whenAborted(signal);
});
