/**
 * Calls the service in k6 for each id of the file CALLS, all of them concurrently, BATCHES times, and prints a JSON value
 * for each answer. PROTOCOL is `http`, or `grpc` with the method by reflection.
 */
// biome-ignore lint/correctness/noUndeclaredDependencies: k6 brings it.
import http from "k6/http";
// biome-ignore lint/correctness/noUndeclaredDependencies: k6 brings it.
import grpc from "k6/net/grpc";

const { PROTOCOL, TARGET, CALLS, BATCHES, PLAINTEXT } = __ENV;
const reqIds = JSON.parse(open(CALLS));
const client = new grpc.Client();

export const options = { batch: reqIds.length, batchPerHost: reqIds.length };

export default async function () {
  if (PROTOCOL === "grpc") client.connect(TARGET, { plaintext: PLAINTEXT === "true", reflect: true });
  for (let batch = 0; batch < Number(BATCHES); batch++) {
    const answers = PROTOCOL === "grpc" ? await callGrpc() : callRest();
    // biome-ignore lint/suspicious/noConsole: k6 has no other output.
    for (const answer of answers) console.log(JSON.stringify(answer));
  }
  client.close();
}

function callRest() {
  const answers = http.batch(
    reqIds.map((reqId) => ({ method: "GET", url: `${TARGET}/get_status/${reqId}` })),
  );
  return answers.map(({ status, proto, headers, body, error }) => {
    if (status === 0) return { failed: error };
    const reason = headers["Error-Reason"];
    return { rest: { status, version: proto === "HTTP/2.0" ? "HTTP/2" : proto, reason, body } };
  });
}

async function callGrpc() {
  const method = "gomemory.status.v1.StatusService/GetStatus";
  const answers = await Promise.all(reqIds.map((reqId) => client.asyncInvoke(method, { reqId })));
  return answers.map(({ status, message, error }) =>
    status === grpc.StatusOK ? { response: message } : { status: error },
  );
}
