/** The exit codes of every command. Scripts depend on them: a code keeps its meaning. */
export const exitCodes = {
  success: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  unavailable: 4,
  denied: 5,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

type Meanings = Partial<Record<keyof typeof exitCodes, string>>;

/** What the exit codes of each command mean, for `--help`. */
export const exitCodeMeanings = {
  serve: {
    success: "a signal stopped the service",
    failure: "the service could not start, or crashed",
    usage: "a setting or the usage is wrong",
  },
  migrate: {
    success: "the schema is that of this version, or of a newer one",
    failure: "the schema is not migrated",
    usage: "a setting or the usage is wrong",
  },
  purge: {
    success:
      "what is older is deleted; or a signal stopped the purge after a batch; or another purger is at work",
    failure: "an unexpected error",
    usage: "an option, a setting or the usage is wrong",
    unavailable: "the database did not answer, takes no writes or is not migrated: try again, or migrate it",
    denied: "the database does not admit this role, or the role may not purge",
  },
  get: {
    success: "the status was printed, whatever it is",
    failure: "an unexpected error",
    usage: "the id, a setting or the usage is wrong",
    notFound: "there is no status with this id: it is unknown or has expired",
    unavailable: "the server, its database or a proxy did not answer: try again",
    denied: "the server requires a token or a certificate, or does not know the one that it got",
  },
  health: {
    success: "the service is alive",
    failure: "the service is not alive",
    usage: "the usage is wrong",
  },
} as const satisfies Record<string, Meanings>;
