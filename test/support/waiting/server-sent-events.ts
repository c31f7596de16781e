/** One event, or a field of the stream itself. */
export interface ServerSentEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string | undefined;
  /** In milliseconds. */
  readonly retry: number | undefined;
}

/** Reads events as the HTML standard says ("Server-sent events", "Interpreting an event stream"), for lines that end with LF. */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    const blocks = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) yield toEvent(block);
  }
}

function toEvent(block: string): ServerSentEvent {
  const fields = new Map(
    block.split("\n").map((line) => {
      const [name = "", ...value] = line.split(": ");
      return [name, value.join(": ")];
    }),
  );
  const retry = fields.get("retry");
  return {
    event: fields.get("event") ?? "",
    data: fields.get("data") ?? "",
    id: fields.get("id"),
    retry: retry === undefined ? undefined : Number(retry),
  };
}
