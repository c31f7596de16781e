import { getCurves } from "node:crypto";
import { once } from "node:events";
import { mkdir, rename, symlink, writeFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import {
  type ConnectionOptions,
  connect as connectTls,
  getCACertificates,
  getCiphers,
  setDefaultCACertificates,
  type TLSSocket,
} from "node:tls";
import { generate } from "selfsigned";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Listener, listen } from "../../src/server/listener.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { type Authority, type Certificate, createAuthority } from "../support/certificates.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { runCli } from "../support/process.ts";
import { protocols } from "../support/protocols.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

let folder: Folder;
let authority: Authority;
let server: Certificate;
let files: { cert: string; key: string };

beforeAll(async () => {
  folder = await createFolder();
  authority = await createAuthority("Tests of TLS");
  setDefaultCACertificates([...getCACertificates("default"), authority.cert]);
  server = await authority.issue("first", "localhost", "127.0.0.1");
  files = {
    cert: await folder.write("server.crt", server.cert),
    key: await folder.write("server.key", server.key),
  };
});

afterAll(() => folder[Symbol.asyncDispose]());

/** Answers with the version of HTTP, after `mayAnswer`. */
async function listenWithTls(
  options: { files?: object; peerTimeout?: number; maxConnections?: number; mayAnswer?: Promise<void> } = {},
): Promise<Listener & { readonly reloads: unknown[] }> {
  const reloads: unknown[] = [];
  const { peerTimeout = 10_000, maxConnections, mayAnswer } = options;
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    shutdownTimeout: 5_000,
    limits: { peerTimeout, ...(maxConnections !== undefined && { maxConnections }) },
    tls: {
      files: { ...files, ...options.files },
      onReload: (error) => void reloads.push(error ?? "reloaded"),
    },
    async handler(incoming, response) {
      await mayAnswer;
      response.end(incoming.httpVersion);
    },
  });
  return { ...listener, reloads };
}

/** Performs the handshake. @throws the error that it fails with. */
async function shakeHands({ address }: Listener, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({ host: "127.0.0.1", port: address.port, ...options });
  await once(socket, "secureConnect");
  return socket;
}

/** @returns the version of HTTP that answered, and the name on the certificate. */
async function ask({ address }: Listener, options: ConnectionOptions = {}): Promise<string> {
  const asking = request({ host: "127.0.0.1", port: address.port, agent: false, ...options });
  asking.end();
  const [response] = await once(asking, "response");
  const { subject } = response.socket.getPeerCertificate();
  return `${await text(response)} ${subject.CN}`;
}

describe.for(["on", "off"])("with the fast path %s, every protocol is served over TLS", (fastPath) => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createDatabase();
    const { cert: TLS_CERT, key: TLS_KEY } = files;
    app = await startTestApp({
      DATABASE_URL: database.url,
      TLS_CERT,
      TLS_KEY,
      GRPC_FAST_PATH: fastPath,
      LOG_REQUESTS: "true",
    });
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  test.for(protocols)("$name", async (protocol) => {
    const reqId = await insertJob(database.db);
    const client = protocol.open(app.url);
    expect(await client.ask(reqId)).toEqual({ json: await documentedJson(database.db, reqId) });
    client.close();
    const line = app.logs.find((one) => one.reqId === reqId);
    expect(line).toMatchObject({
      msg: "call",
      code: "OK",
      peer: expect.stringMatching(/^(127\.0\.0\.1|::1)$/),
    });
  });

  test("the command get, with the CA that NODE_EXTRA_CA_CERTS names", async () => {
    const reqId = await insertJob(database.db);
    const ca = await folder.write("ca.crt", authority.cert);
    await using knowing = runCli(["get", reqId], { STATUS_URL: app.url, NODE_EXTRA_CA_CERTS: ca });
    const stdout = `${await documentedJson(database.db, reqId)}\n`;
    expect(await knowing.exit).toMatchObject({ code: 0, stdout });
    await using other = runCli(["get", reqId], { STATUS_URL: app.url });
    const { code, stderr } = await other.exit;
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("certificate") });
  });

  test("the start reports that TLS is on", () => expect(app.access.tls).toBe("on"));
});

describe("the handshake", () => {
  let listener: Listener;

  beforeAll(async () => {
    listener = await listenWithTls();
  });

  afterAll(() => listener[Symbol.asyncDispose]());

  test.for(["TLSv1.2", "TLSv1.3"] as const)("takes %s", async (version) => {
    expect(await ask(listener, { minVersion: version, maxVersion: version })).toBe("1.1 first");
  });

  test.for(["TLSv1", "TLSv1.1"] as const)("refuses %s", async (version) => {
    const old = { minVersion: version, maxVersion: version, ciphers: "DEFAULT@SECLEVEL=0" };
    await expect(shakeHands(listener, old)).rejects.toThrow(/version/);
  });

  test("ALPN decides for HTTP/2", async () => {
    const session = connectHttp2(`https://127.0.0.1:${listener.address.port}`);
    const stream = session.request({ ":path": "/" });
    expect(await text(stream)).toBe("2.0");
    session.close();
  });

  test.for([
    { offers: ["http/1.1"] },
    { offers: ["http/1.1", "h2"] },
    { offers: undefined },
  ])("a client that offers $offers gets the best of them", async ({ offers }) => {
    const socket = await shakeHands(listener, { ...(offers && { ALPNProtocols: offers }) });
    expect(socket.alpnProtocol).toBe(
      offers === undefined ? false : offers.includes("h2") ? "h2" : "http/1.1",
    );
    socket.destroy();
  });

  test("a client that offers only other protocols gets an alert", async () => {
    await expect(shakeHands(listener, { ALPNProtocols: ["spdy/3"] })).rejects.toThrow(
      /no application protocol/i,
    );
  });

  test.for([
    { name: "HTTP/1.1", bytes: "GET / HTTP/1.1\r\nHost: x\r\n\r\n" },
    { name: "HTTP/2", bytes: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" },
    { name: "neither", bytes: "\0\0\0\0\0\0\0\0" },
  ])("a client that speaks $name without TLS finds the connection closed, and not reset", async ({
    bytes,
  }) => {
    const socket = connectTcp(listener.address.port, "127.0.0.1");
    socket.write(bytes, "latin1");
    // It rejects when the connection is reset.
    expect((await buffer(socket)).includes("HTTP")).toBe(false);
  });
});

describe("only what Mozilla's intermediate profile allows is served", () => {
  const certificates = ["ec", "rsa"] as const;
  const listeners = {} as Record<(typeof certificates)[number], Listener>;

  beforeAll(async () => {
    for (const keyType of certificates) {
      const { cert, private: key } = await generate([{ name: "commonName", value: keyType }], {
        keyType,
        algorithm: "sha256",
      });
      listeners[keyType] = await listenWithTls({
        files: {
          cert: await folder.write(`${keyType}.crt`, cert),
          key: await folder.write(`${keyType}.key`, key),
        },
      });
    }
  });

  afterAll(async () => {
    for (const keyType of certificates) await listeners[keyType][Symbol.asyncDispose]();
  });

  /** @returns the offers that the service accepts, each offered by itself. */
  async function accepted(
    listener: Listener,
    offers: readonly string[],
    asOptions: (offer: string) => ConnectionOptions,
  ): Promise<string[]> {
    const found: string[] = [];
    for (const offer of offers) {
      try {
        const socket = await shakeHands(listener, { rejectUnauthorized: false, ...asOptions(offer) });
        found.push(offer);
        socket.destroy();
      } catch {
        // Refused, or nothing that a client can offer over this version of TLS.
      }
    }
    return found.toSorted();
  }

  // Node lists no suite of ARIA, and none of CCM, and takes their names all the same.
  const unlisted = ["ECDHE-ECDSA", "ECDHE", "DHE-RSA"].flatMap((exchange) =>
    [
      "ARIA128-GCM-SHA256",
      "ARIA256-GCM-SHA384",
      "AES128-CCM",
      "AES256-CCM",
      "AES128-CCM8",
      "AES256-CCM8",
    ].map((cipher) => `${exchange}-${cipher}`),
  );
  const suites = [...new Set([...getCiphers().map((name) => name.toUpperCase()), ...unlisted])];
  const gcmAndChaCha = (key: string) => [
    `ECDHE-${key}-AES128-GCM-SHA256`,
    `ECDHE-${key}-AES256-GCM-SHA384`,
    `ECDHE-${key}-CHACHA20-POLY1305`,
  ];

  test.for([
    { keyType: "ec", expected: gcmAndChaCha("ECDSA") },
    { keyType: "rsa", expected: gcmAndChaCha("RSA") },
  ] as const)("of the suites of TLS 1.2, with a key of type $keyType", async ({ keyType, expected }) => {
    expect(suites.filter((name) => /CBC|SHA$|SHA256$|SHA384$|ARIA|CCM/.test(name)).length).toBeGreaterThan(
      50,
    );
    const options = (suite: string): ConnectionOptions => ({
      maxVersion: "TLSv1.2",
      ciphers: `${suite}@SECLEVEL=0`,
    });
    expect(await accepted(listeners[keyType], suites, options)).toEqual(expected);
  });

  test("of the suites of TLS 1.3", async () => {
    const offers = [...suites.filter((name) => name.startsWith("TLS_")), "TLS_AES_128_CCM_SHA256"];
    const options = (ciphers: string): ConnectionOptions => ({ minVersion: "TLSv1.3", ciphers });
    expect(await accepted(listeners.ec, offers, options)).toEqual([
      "TLS_AES_128_GCM_SHA256",
      "TLS_AES_256_GCM_SHA384",
      "TLS_CHACHA20_POLY1305_SHA256",
    ]);
  });

  const groups = [
    ...getCurves(),
    ...["X25519", "X448", "ffdhe2048", "ffdhe3072", "MLKEM512", "MLKEM768", "MLKEM1024"],
    ...["X25519MLKEM768", "X448MLKEM1024", "SecP256r1MLKEM768", "SecP384r1MLKEM1024"],
    ...["brainpoolP256r1tls13", "brainpoolP384r1tls13", "brainpoolP512r1tls13"],
  ];

  test.for(["TLSv1.2", "TLSv1.3"] as const)("of the groups of %s", async (version) => {
    const options = (ecdhCurve: string): ConnectionOptions => ({
      minVersion: version,
      maxVersion: version,
      ecdhCurve,
    });
    const hybrid = version === "TLSv1.3" ? ["X25519MLKEM768"] : [];
    const expected = ["X25519", ...hybrid, "prime256v1", "secp384r1"];
    expect(await accepted(listeners.rsa, groups, options)).toEqual(expected.toSorted());
  });

  test("also after the certificate was renewed", async () => {
    const cert = await folder.write("renewed.crt", server.cert);
    const key = await folder.write("renewed.key", server.key);
    await using listener = await listenWithTls({ files: { cert, key } });
    const next = await authority.issue("second", "localhost", "127.0.0.1");
    await rename(await folder.write("renewed.key.new", next.key), key);
    await rename(await folder.write("renewed.crt.new", next.cert), cert);
    await expect.poll(() => listener.reloads.at(-1), { interval: 10, timeout: 10_000 }).toBe("reloaded");
    const cbc: ConnectionOptions = { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" };
    await expect(shakeHands(listener, cbc)).rejects.toThrow(/handshake failure/);
    await expect(shakeHands(listener, { ecdhCurve: "X448" })).rejects.toThrow(/handshake failure/);
    expect(await ask(listener)).toBe("1.1 second");
  });
});

describe("the limits apply over TLS, too", () => {
  const hello = Buffer.from("16030100c8", "hex");

  test("a client that stops in the middle of the handshake is dropped after PEER_TIMEOUT", async () => {
    await using listener = await listenWithTls({ peerTimeout: 100 });
    const socket = connectTcp(listener.address.port, "127.0.0.1").resume();
    socket.write(hello);
    await once(socket, "close");
  });

  test.for([
    "h2",
    "http/1.1",
  ])("a client that is idle after the handshake, for %s, is dropped after PEER_TIMEOUT", async (alpn) => {
    await using listener = await listenWithTls({ peerTimeout: 100 });
    const socket = await shakeHands(listener, { ALPNProtocols: [alpn] });
    socket.resume();
    await once(socket, "close");
  });

  test("a client that ends before the handshake is closed at once", async () => {
    await using listener = await listenWithTls();
    const socket = connectTcp(listener.address.port, "127.0.0.1").resume();
    socket.end();
    await once(socket, "close");
  });

  test("maxConnections", async () => {
    await using listener = await listenWithTls({ maxConnections: 1 });
    const first = await shakeHands(listener);
    await expect(shakeHands(listener)).rejects.toThrow();
    first.destroy();
  });
});

describe("while it stops", () => {
  test.for([
    "1.1",
    "2",
  ])("a call over HTTP/%s that is in progress is answered, and idle connections are closed at once", async (version) => {
    const mayAnswer = Promise.withResolvers<void>();
    const listener = await listenWithTls({ mayAnswer: mayAnswer.promise });
    const idle = connectTcp(listener.address.port, "127.0.0.1").resume();
    await once(idle, "connect");
    const half = connectTcp(listener.address.port, "127.0.0.1").resume();
    half.write(Buffer.from("160301", "hex"));
    const session = connectHttp2(`https://127.0.0.1:${listener.address.port}`);
    await once(session, "remoteSettings");
    const answer = version === "2" ? text(session.request({ ":path": "/" })) : ask(listener);
    // The next call shows that the server has got the first one.
    const socket = await shakeHands(listener);
    socket.destroy();
    const closed = listener[Symbol.asyncDispose]();
    await Promise.all([once(idle, "close"), once(half, "close")]);
    mayAnswer.resolve();
    expect(await answer).toMatch(/^(1\.1 first|2\.0)$/);
    await closed;
  });
});

describe("client certificates", () => {
  /** Which of these a client gets depends on timing. */
  const refused = /^(ERR_SSL_.*|ECONNRESET|EPIPE|EPROTO)$/;
  let strangers: Authority;

  beforeAll(async () => {
    strangers = await createAuthority("Strangers");
  });

  /** The answer, or the code of the error: over TLS 1.3, a client finishes its handshake before the server verifies it. */
  async function outcomeOf(listener: Listener, options: ConnectionOptions): Promise<string> {
    return await ask(listener, options).catch((error: NodeJS.ErrnoException) => String(error.code));
  }

  test.for([
    "TLSv1.2",
    "TLSv1.3",
  ] as const)("over %s, those of the CA are accepted, and no others", async (version) => {
    const clientCa = await folder.write("callers.crt", authority.cert);
    await using listener = await listenWithTls({ files: { clientCa } });
    const over = { minVersion: version, maxVersion: version };
    expect(await outcomeOf(listener, { ...over, ...(await authority.issue("caller")) })).toBe("1.1 first");
    expect(await outcomeOf(listener, over)).toMatch(refused);
    expect(await outcomeOf(listener, { ...over, ...(await strangers.issue("caller")) })).toMatch(refused);
  });

  test("the CA changes with its file", async () => {
    const clientCa = await folder.write("changing.crt", authority.cert);
    await using listener = await listenWithTls({ files: { clientCa } });
    const stranger = await strangers.issue("caller");
    expect(await outcomeOf(listener, stranger)).not.toBe("1.1 first");
    await writeFile(clientCa, strangers.cert);
    await reloaded(listener, ["reloaded"]);
    expect(await outcomeOf(listener, stranger)).toBe("1.1 first");
    expect(await outcomeOf(listener, await authority.issue("caller"))).not.toBe("1.1 first");
  });
});

function reloaded({ reloads }: { readonly reloads: unknown[] }, expected: unknown[]): Promise<void> {
  return expect.poll(() => reloads, { interval: 10, timeout: 10_000 }).toEqual(expected);
}

describe("renewed certificates", () => {
  let next: Certificate;

  beforeAll(async () => {
    next = await authority.issue("second", "localhost", "127.0.0.1");
  });

  test("written in place, first one file and then the other: a pair that does not fit is not used", async () => {
    const cert = await folder.write("in-place.crt", server.cert);
    const key = await folder.write("in-place.key", server.key);
    await using listener = await listenWithTls({ files: { cert, key } });
    await writeFile(cert, next.cert.slice(0, 100));
    const useless = (file: string, problem: string) =>
      expect.objectContaining({ message: `${file} ${problem}` });
    const half = useless(cert, "holds no certificate in PEM");
    await reloaded(listener, [half]);
    await writeFile(cert, next.cert);
    const mismatch = useless(key, "is not the key of the certificate");
    await reloaded(listener, [half, mismatch]);
    expect(await ask(listener)).toBe("1.1 first");
    await writeFile(key, next.key);
    await reloaded(listener, [half, mismatch, "reloaded"]);
    expect(await ask(listener)).toBe("1.1 second");
  });

  test("moved over the old ones", async () => {
    const cert = await folder.write("moved.crt", server.cert);
    const key = await folder.write("moved.key", server.key);
    await using listener = await listenWithTls({ files: { cert, key } });
    await rename(await folder.write("new.key", next.key), key);
    await rename(await folder.write("new.crt", next.cert), cert);
    await expect.poll(() => listener.reloads.at(-1), { interval: 10, timeout: 10_000 }).toBe("reloaded");
    expect(await ask(listener)).toBe("1.1 second");
  });

  test("behind a symbolic link that leads elsewhere, as Kubernetes does it: no call is dropped", async () => {
    const volume = join(folder.path, "volume");
    const put = async (name: string, { cert, key }: Certificate) => {
      await mkdir(join(volume, name), { recursive: true });
      await writeFile(join(volume, name, "tls.crt"), cert);
      await writeFile(join(volume, name, "tls.key"), key);
      await symlink(name, join(volume, "..data_tmp"));
      await rename(join(volume, "..data_tmp"), join(volume, "..data"));
    };
    await put("..2026_01", server);
    for (const name of ["tls.crt", "tls.key"]) await symlink(join("..data", name), join(volume, name));

    const mayAnswer = Promise.withResolvers<void>();
    await using listener = await listenWithTls({
      files: { cert: join(volume, "tls.crt"), key: join(volume, "tls.key") },
      mayAnswer: mayAnswer.promise,
    });
    const session = connectHttp2(`https://127.0.0.1:${listener.address.port}`);
    await once(session, "remoteSettings");
    const running = [text(session.request({ ":path": "/" })), ask(listener)];
    await put("..2026_02", next);
    await reloaded(listener, ["reloaded"]);
    mayAnswer.resolve();
    expect(await Promise.all(running)).toEqual(["2.0", "1.1 first"]);
    // The existing connection stays open.
    expect(await text(session.request({ ":path": "/" }))).toBe("2.0");
    expect(await ask(listener)).toBe("1.1 second");
    session.close();
  });
});
