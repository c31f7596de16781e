/**
 * The JSON body of an error. `Error` is what the published contract names; `Message` and
 * `Status` are what the Python SDK reads, which shows its user a bare HTTP error where they are missing.
 */
export function errorBody(status: number, message: string): string {
  return JSON.stringify({ Error: message, Message: message, Status: status });
}

/** Spelled as published. */
const technicalIssues =
  "We are experiencing some techincal issues right now. Please try again after some time!";

/** The bodies of the contract, to the letter, by their HTTP status. */
export const errorBodies = {
  400: errorBody(400, "Bad Request"),
  401: errorBody(401, "Unauthorized"),
  500: errorBody(500, technicalIssues),
  503: errorBody(503, technicalIssues),
};
