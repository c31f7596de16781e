/** @grpc/grpc-js with the contract loaded by @grpc/proto-loader, and pg. */
import { fileURLToPath } from "node:url";
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceClientConstructor,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import pg from "pg";

interface Request {
  reqId: string;
}
interface Response {
  status: string;
  createdAt: { seconds: number };
  error?: string;
}
interface Contract {
  gomemory: { status: { v1: { StatusService: ServiceClientConstructor } } };
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Its name makes pg prepare it once a connection. */
const query = {
  name: "get-status",
  text: `select status, error, created_at from memory_job
         where req_id = $1 and created_at > now() - interval '24 hours'`,
};
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

const root = fileURLToPath(new URL("../..", import.meta.url));
const definition = loadSync("gomemory/status/v1/status.proto", {
  includeDirs: [`${root}proto`, `${root}node_modules/google-gax/build/protos`],
});
const contract = loadPackageDefinition(definition) as unknown as Contract;

async function getStatus(call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>) {
  const id = call.request.reqId;
  if (!uuid.test(id)) {
    callback({ code: status.INVALID_ARGUMENT, details: "req_id is not a UUID" });
    return;
  }
  try {
    const { rows } = await pool.query<{ status: string; error: string | null; created_at: Date }>({
      ...query,
      values: [id],
    });
    const job = rows[0];
    if (!job) {
      callback({ code: status.NOT_FOUND, details: "no such request" });
      return;
    }
    const createdAt = { seconds: job.created_at.getTime() / 1000 };
    callback(null, { status: job.status, createdAt, ...(job.error !== null && { error: job.error }) });
  } catch {
    callback({ code: status.UNAVAILABLE, details: "the database could not be asked" });
  }
}

const server = new Server();
server.addService(contract.gomemory.status.v1.StatusService.service, { GetStatus: getStatus });
server.bindAsync(`127.0.0.1:${process.env.PORT}`, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
