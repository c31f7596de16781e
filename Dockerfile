# The version of Node is that of package.json: test/repository/image.test.ts checks it, and builds and runs this file.
FROM node:26.10.0-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund
COPY bin bin
COPY src src
# COPY keeps the modes of the checkout, whose umask may have been strict: all users may read, only root may write.
RUN chmod -R a+rX,go-w .
# Compiled code is kept for each version of Node, set of flags and kind of processor: where one differs, the service compiles.
RUN ./bin/fill-compile-cache
RUN chmod -R a+rX,go-w .data

FROM node:26.10.0-slim
WORKDIR /app
ENV NODE_ENV=production
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/package.json package.json
COPY --from=build /app/bin bin
COPY --from=build /app/src src
COPY --from=build /app/.data .data
USER node
EXPOSE 9000
# The start period covers a migration (MIGRATE=true), before which the service does not listen.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "src/cli.ts", "health"]
# Replaces the entry point of the base image. Node becomes the first process, and gets the signals.
ENTRYPOINT ["./bin/gomemory-status"]
CMD ["serve"]
