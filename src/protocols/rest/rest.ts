import { getOption, hasOption } from "@bufbuild/protobuf";
import { isUnary } from "../../endpoints/endpoint.ts";
import { http } from "../../gen/google/api/annotations_pb.ts";
import { createGetRoute } from "./get-route.ts";
import { createPostRoute } from "./post-route.ts";
import type { RestOptions, RestRoute } from "./route.ts";

/** @throws Error for an option that is neither `get` with one field at the end of its path, nor `post` with the body `*`. */
export function createRestRoutes(options: RestOptions): RestRoute[] {
  return options.endpoints
    .filter(isUnary)
    .filter(({ method }) => hasOption(method, http))
    .map((endpoint) => {
      const isGet = getOption(endpoint.method, http).pattern.case === "get";
      return isGet ? createGetRoute(endpoint, options) : createPostRoute(endpoint, options);
    });
}
