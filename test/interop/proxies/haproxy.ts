import { installDebian } from "../tools.ts";
import { heldOfConnection, type ProxyKind } from "./reverse-proxy.ts";

export const haproxy: ProxyKind = {
  install: () => installDebian("haproxy", "usr/sbin/haproxy"),
  configFile: "haproxy.cfg",
  // The next generation takes over the listening sockets through the admin socket.
  config: ({ servicePort, http1Port, http2Port }, generation) => `
global
  stats socket unix@admin.sock mode 600 level admin expose-fd listeners
  tune.h2.max-concurrent-streams ${heldOfConnection}
defaults
  mode http
  # Otherwise HAProxy notices that a client has gone with the next event, or when the wait is over.
  option abortonclose
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend everything
  bind 127.0.0.1:${http1Port}
  bind 127.0.0.1:${http2Port}
  http-after-response set-header Generation ${generation}
  use_backend over_http2 if { req.ver 2.0 }
  default_backend over_http1
backend over_http1
  server service 127.0.0.1:${servicePort}
backend over_http2
  server service 127.0.0.1:${servicePort} proto h2
`,
  args: () => ["-W", "-f", "haproxy.cfg"],
  reloadBy: "SIGUSR2",
};
