import { installDebian } from "../tools.ts";
import type { ProxyKind } from "./reverse-proxy.ts";

/**
 * Before 1.25.1, nginx accepts either HTTP/1.1 or HTTP/2 on a port without TLS, not both. Kept connections belong to an
 * `upstream`, not to a protocol: one upstream for both would mix them up.
 */
export const nginx: ProxyKind = {
  install: () => installDebian("nginx", "usr/sbin/nginx"),
  configFile: "nginx.conf",
  config: ({ servicePort, http1Port, http2Port }, generation) => `
    ${process.getuid?.() === 0 ? "user root;" : ""}
    daemon off;
    pid nginx.pid;
    error_log stderr;
    worker_processes 1;
    events {}
    http {
      access_log off;
      client_body_temp_path body;
      proxy_temp_path proxy;
      fastcgi_temp_path fastcgi;
      uwsgi_temp_path uwsgi;
      scgi_temp_path scgi;
      add_header Generation ${generation} always;
      upstream over_http1 {
        server 127.0.0.1:${servicePort};
        keepalive 16;
      }
      upstream over_http2 {
        server 127.0.0.1:${servicePort};
        keepalive 16;
      }
      server {
        listen 127.0.0.1:${http1Port};
        location / {
          proxy_pass http://over_http1;
          proxy_http_version 1.1;
          proxy_set_header Connection "";
        }
      }
      server {
        listen 127.0.0.1:${http2Port} http2;
        location / {
          grpc_pass grpc://over_http2;
        }
      }
    }`,
  args: ({ directory }) => ["-e", "stderr", "-p", directory, "-c", "nginx.conf"],
  reloadBy: "SIGHUP",
};
