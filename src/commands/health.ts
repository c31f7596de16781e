// What the image's HEALTHCHECK runs: ends with exit code 0 when the service in this container is alive.
import { get as getHttp, type IncomingMessage } from "node:http";
import { get as getHttps } from "node:https";
import { connect } from "node:tls";

const { HOST, PORT, TLS_CERT, TLS_CLIENT_CA } = process.env;
// It is our own certificate, by whatever name it goes outside.
const address = { host: HOST || "localhost", port: Number(PORT || 9000), rejectUnauthorized: false };

function ask(): void {
  const get = TLS_CERT ? getHttps : getHttp;
  get({ ...address, path: "/healthz", agent: false }, ({ statusCode }: IncomingMessage) =>
    process.exit(statusCode === 200 ? 0 : 1),
  ).on("error", () => process.exit(1));
}

/** We have no certificate to show. A service that gets as far as asking for one is alive (RFC 8446, section 4.4.2). */
function shakeHands(): void {
  connect({ ...address, minVersion: "TLSv1.3" }, () => process.exit(0)).on("error", () => process.exit(1));
}

if (TLS_CLIENT_CA) shakeHands();
else ask();
