/** Baseline: the cost of node:http2 when every gRPC call is read and answered with a constant message. */
import { createServer, type ServerHttp2Stream } from "node:http2";

// status = success, created_at = 2026-03-03T21:44:15Z, behind gRPC's five bytes of framing.
const message = Buffer.from("000000000a0803120608afac9dcd06", "hex");
const headers = { ":status": 200, "content-type": "application/grpc+proto" };
const trailers = { "grpc-status": "0" };

function answer(this: ServerHttp2Stream): void {
  this.respond(headers, { waitForTrailers: true });
  this.end(message);
}

function sendTrailers(this: ServerHttp2Stream): void {
  this.sendTrailers(trailers);
}

const server = createServer();
// Only for `npm run bench:gc-tail`: the baseline itself has no code of the service's.
if (process.env.STREAM_TABLE === "ours") {
  const { installStreamTable } = await import("../../src/server/http2/stream-table.ts");
  server.on("session", installStreamTable);
}
server.on("stream", (stream: ServerHttp2Stream) => {
  stream.on("end", answer);
  stream.on("wantTrailers", sendTrailers);
  stream.resume();
});
server.listen(Number(process.env.PORT), "127.0.0.1");
