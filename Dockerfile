# The same Node as in package.json. test/repository/image.test.ts replays this file, and sees to that.
FROM node:26.10.0-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund
COPY src src
# COPY keeps the modes of the checkout, whose umask may have been strict: everybody may read, only root may write.
RUN chmod -R a+rX,go-w .

FROM node:26.10.0-slim
WORKDIR /app
ENV NODE_ENV=production
# As in `npm start`: bench/README.md shows what it does to the tail of the latency.
ENV GLIBC_TUNABLES=glibc.malloc.mxfast=0
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/package.json package.json
COPY --from=build /app/src src
USER node
EXPOSE 9000
# Until it has migrated, when it is told to, the service does not listen: hence the long start.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "src/commands/health.ts"]
# In place of the base image's shell script: Node is the first process, and gets the signals itself.
ENTRYPOINT ["node", "--disable-sigusr1", "--max-semi-space-size=8", "--no-allocation-site-pretenuring", \
  "--heap-growing-percent=100", "--concurrent-marking-max-worker-num=1", "src/cli.ts"]
CMD ["serve"]
