/**
 * Answer an agent gateway's messages with an async generator. Needs nothing but the platform.
 *
 *     export const POST = agent({ keys: [process.env.AGENT_KEY] }, async function* (message, session) {
 *       yield "Hello";
 *     });
 *
 * `agent` returns a handler from a `Request` to a `Response` (Next.js, Hono, Deno, Bun, Cloudflare); its `node` is a
 * listener for Node's `http` and Express. The generator yields texts (tokens) and objects (events, with a `type`).
 * Stop aborts `session.signal`: hand it to `fetch` and to the model's client, so that they end, too.
 */

const HEADERS = { "Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no" };

/** Ends the answer as an error. Its message is for the person who asked; of other errors nothing is sent. */
export class AgentError extends Error {}

/**
 * @param {{ keys: (string | undefined)[], keepAliveSeconds?: number }} options `keys`: each is accepted, two while a
 *   key is changed
 * @param {(message: Record<string, any>, session: { sessionId: string, turnId: string, subject: string,
 *   signal: AbortSignal }) => AsyncIterable<string | object>} answer
 */
export function agent({ keys, keepAliveSeconds = 15 }, answer) {
  if (!keys.length || !keys.every(Boolean)) {
    throw new Error("An agent needs the gateway's key (GATEWAY__INTERNAL_API_KEY), or anybody could ask it.");
  }

  /** @param {Request} request */
  async function handle(request) {
    if (request.method !== "POST") return refuse(405, "An agent takes POST only.");
    const key = request.headers.get("x-internal-auth") ?? "";
    if (!(await isKnown(key, /** @type {string[]} */ (keys)))) {
      return refuse(401, "The key in X-Internal-Auth is missing or wrong.");
    }
    const message = await request.json().catch(() => null);
    if (message === null || typeof message !== "object") return refuse(400, "The body is not a message.");
    const stopped = new AbortController();
    request.signal.addEventListener("abort", () => stopped.abort());
    const session = {
      sessionId: String(message.session_id ?? ""),
      turnId: request.headers.get("idempotency-key") ?? "",
      subject: request.headers.get("x-subject") ?? "",
      signal: stopped.signal,
    };
    return new Response(stream(answer(message, session), stopped, keepAliveSeconds), { headers: HEADERS });
  }

  return Object.assign(handle, { node: listener(handle) });
}

/** @param {AsyncIterable<string | object>} items @param {AbortController} stopped @param {number} keepAliveSeconds */
function stream(items, stopped, keepAliveSeconds) {
  const encoder = new TextEncoder();
  const answer = items[Symbol.asyncIterator]();
  /** @type {ReturnType<typeof setInterval>} */
  let timer;
  return new ReadableStream({
    start(controller) {
      timer = setInterval(() => controller.enqueue(encoder.encode(": still there\n\n")), keepAliveSeconds * 1000);
    },
    async pull(controller) {
      const event = await next(answer);
      timer.refresh?.();
      if (stopped.signal.aborted) return;
      controller.enqueue(encoder.encode(`data: ${JSON.stringify(event.value)}\n\n`));
      if (event.isLast) {
        clearInterval(timer);
        controller.close();
      }
    },
    cancel() {
      clearInterval(timer);
      stopped.abort();
      answer.return?.().catch(() => {});
    },
  });
}

/** @param {AsyncIterator<string | object>} answer */
async function next(answer) {
  try {
    const { value, done } = await answer.next();
    if (done) return { value: { type: "assistant_message", token: "", is_final: true }, isLast: true };
    if (typeof value !== "string") return { value, isLast: false };
    return { value: { type: "assistant_message", token: value, is_final: false }, isLast: false };
  } catch (error) {
    if (!(error instanceof AgentError)) console.error("The answer failed:", error);
    const content = error instanceof AgentError ? error.message : "The agent could not answer. Try again.";
    return { value: { type: "error", content }, isLast: true };
  }
}

/** Compare digests, so that the time tells nothing of a key. @param {string} key @param {string[]} keys */
async function isKnown(key, keys) {
  const digests = await Promise.all([key, ...keys].map(digest));
  return digests.slice(1).includes(digests[0]);
}

/** @param {string} text */
async function digest(text) {
  return String(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}

/** @param {number} status @param {string} error */
function refuse(status, error) {
  return Response.json({ error }, { status });
}

/** @param {(request: Request) => Promise<Response>} handle */
function listener(handle) {
  /** @param {import("node:http").IncomingMessage} incoming @param {import("node:http").ServerResponse} outgoing */
  return async (incoming, outgoing) => {
    const gone = new AbortController();
    outgoing.on("close", () => gone.abort());
    const chunks = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const hasBody = incoming.method !== "GET" && incoming.method !== "HEAD";
    const request = new Request(new URL(incoming.url ?? "/", "http://agent"), {
      method: incoming.method,
      headers: /** @type {Record<string, string>} */ (incoming.headers),
      body: hasBody ? new Blob(chunks) : null,
      signal: gone.signal,
    });
    const response = await handle(request);
    outgoing.writeHead(response.status, Object.fromEntries(response.headers));
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    gone.signal.addEventListener("abort", () => void reader.cancel().catch(() => {}));
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (!outgoing.write(part.value)) await new Promise((go) => outgoing.once("drain", () => go(null)));
    }
    outgoing.end();
  };
}
