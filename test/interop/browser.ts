import { execFile } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { promisify } from "node:util";
import { startTethered, type Tethered } from "../../src/store/embedded/tethered-program.ts";
import { createFolder } from "../support/folder.ts";
import { type ClientProgram, converse } from "./client.ts";
import { installJs } from "./js.ts";
import { installDebian, type Tool } from "./tools.ts";

/** A page in a browser that makes the tests' calls, and the server that serves the page. */
export interface Browser extends AsyncDisposable {
  /** The page's origin. */
  readonly origin: string;
  /** Opens the page. @param certificate the file, in PEM, of a service's certificate that the browser accepts. */
  open(certificate: string): Promise<void>;
  /** @param by the name of one of the page's clients. @param url the service's. */
  client(by: string, url: string): ClientProgram;
}

/** @throws Error that names the tool. */
export function installBrowser(): Promise<Tool> {
  return installDebian("chromium-headless-shell", "usr/lib/chromium/chromium-headless-shell");
}

/** Starts the server of the page. */
export async function startBrowser(chromium: Tool): Promise<Browser> {
  const started = new AsyncDisposableStack();
  const script = await bundlePage();
  const conversations: ReturnType<typeof converse>[] = [];
  const page = Promise.withResolvers<ServerResponse>();

  const server = createServer(async (request, response) => {
    if (request.url === "/page.js") response.setHeader("Content-Type", "text/javascript").end(script);
    else if (request.url === "/calls") {
      response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
      page.resolve(response);
    } else if (request.url === "/answers") {
      for (const { id, ...answer } of (await json(request)) as {
        id: { conversation: number; call: number };
      }[]) {
        conversations[id.conversation]?.answer({ id: id.call, ...answer });
      }
      response.end();
    } else {
      response.setHeader("Content-Type", "text/html").end('<script type="module" src="/page.js"></script>');
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  started.defer(async () => {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    origin,
    async open(certificate) {
      const profile = started.use(await createFolder());
      const { publicKey } = new X509Certificate(await readFile(certificate));
      const key = createHash("sha256")
        .update(publicKey.export({ type: "spki", format: "der" }))
        .digest("base64");
      const args = [
        ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
        ...["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"],
        ...[`--user-data-dir=${profile.path}`, `--ignore-certificate-errors-spki-list=${key}`],
        // Without it, the browser ends at once.
        "--remote-debugging-port=0",
      ];
      const env = { ...chromium.env, HOME: profile.path };
      const browser = await startTethered([chromium.path, ...args, origin], { env });
      started.defer(() => browser.stop());
      await Promise.race([page.promise, failure(browser)]);
    },
    client(by, url) {
      const index = conversations.length;
      const conversation = converse(async (calls) => {
        const data = calls.map((call) => ({
          by,
          url,
          ...call,
          id: { conversation: index, call: (call as { id: number }).id },
        }));
        (await page.promise).write(`data: ${JSON.stringify(data)}\n\n`);
      });
      conversations.push(conversation);
      return { ...conversation, async [Symbol.asyncDispose]() {} };
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

async function failure(browser: Tethered): Promise<never> {
  await browser.ended;
  throw new Error(`the browser has not opened the page: ${browser.describeEnd()}`);
}

/** @returns the page's script in one file. */
async function bundlePage(): Promise<string> {
  const { platform, arch } = process;
  const bun = await installJs("bun", `@oven/bun-${platform}-${arch === "arm64" ? "aarch64" : arch}/bin/bun`);
  const page = join(bun.directory, "page.js");
  const { stdout } = await promisify(execFile)(bun.path, ["build", page, "--target=browser"], {
    cwd: bun.directory,
    maxBuffer: 2 ** 26,
  });
  return stdout;
}
