/**
 * A bare server of Node's that holds what it is asked to hold, and does nothing else: `node bench/wait/measure/floor-server.ts 1|2`.
 * Writes its port when it listens.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { address } from "../clients/connections.ts";

const body = `{"status":"pending","createdAt":"2026-03-03T21:44:15Z"}`;
const event = `event: status\ndata: ${body}\n\n`;

/** An event stream stays open; anything else is answered. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers.accept === "text/event-stream") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(event);
  } else {
    response.writeHead(200, { "content-type": "application/json", "content-length": body.length });
    response.end(body);
  }
}

function hold(stream: ServerHttp2Stream): void {
  stream.on("error", () => {});
  stream.respond({ ":status": 200, "content-type": "text/event-stream" });
  stream.write(event);
}

const server =
  process.argv[2] === "1"
    ? createServer(answer)
    : createHttp2Server({ maxSessionMemory: 1_000, settings: { maxConcurrentStreams: 1_000 } }).on(
        "stream",
        hold,
      );
await once(server.listen(0, address), "listening");
process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
