/** Baseline: the cost of node:http with a constant answer. */
import { createServer } from "node:http";

const body = `{"status":"success","createdAt":"2026-03-03T21:44:15Z"}`;

const server = createServer((_request, response) => {
  response.writeHead(200, { "Content-Type": "application/json", "Content-Length": body.length });
  response.end(body);
});
server.listen(Number(process.env.PORT), "127.0.0.1");
