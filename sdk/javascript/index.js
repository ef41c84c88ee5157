/**
 * Answer an agent gateway's messages with an async generator. Needs nothing but the platform.
 *
 *     export const POST = agent({ keys: [process.env.AGENT_KEY] }, async function* (message, session) {
 *       yield 'Hello';
 *     });
 *
 * `agent` returns a handler from a `Request` to a `Response` (Next.js, Hono, Deno, Bun, Cloudflare); its `node` is a
 * listener for Node's `http` and Express. The generator yields texts (tokens) and objects (events, with a `type`).
 * Stop aborts `session.signal`: hand it to `fetch` and to the model's client, so that they end, too.
 */

const HEADERS = { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', 'X-Accel-Buffering': 'no' };
const FINAL = { type: 'assistant_message', token: '', is_final: true };
const NO_WORDS = 'The agent could not answer. Try again.';
const encoder = new TextEncoder();

/** Ends the answer as an error. Its message is for the person who asked; other errors' messages are only logged. */
export class AgentError extends Error {}

/** @typedef {Pick<Request, 'method' | 'url' | 'json' | 'signal'> & { headers: { get(name: string): string | null } }} Asked */

/** @type {typeof import('./index.js').agent} */
export function agent({ keys, keepAliveSeconds = 15, keepSeconds = 0 }, answer) {
  if (!keys.length || !keys.every(Boolean)) {
    throw new Error('An agent needs the key GATEWAY__INTERNAL_API_KEY of the gateway: without, anyone could ask.');
  }

  /** @type {Map<string, Kept>} */
  const kept = new Map();

  /** Read on, or stop, an answer that is kept. @param {Asked} request */
  function handleKept(request) {
    const run = kept.get(request.url.split('/').at(-1) ?? '');
    if (!run) return refuse(404, 'This answer is not known.');
    if (request.method === 'DELETE') {
      run.stop.abort();
      return Response.json({ status: 'It is stopped.' });
    }
    const cursor = Number(request.headers.get('last-event-id') ?? 0);
    if (!Number.isInteger(cursor) || cursor > run.events.length) {
      return refuse(410, 'There is no such event in this answer.');
    }
    return respond(run.after(cursor), request.signal, new AbortController());
  }

  /** @param {AsyncGenerator<Uint8Array<ArrayBuffer>, void>} events @param {AbortSignal} signal @param {AbortController} left */
  function respond(events, signal, left) {
    const headers = keepSeconds ? { ...HEADERS, 'X-Agent-Resume': '1' } : HEADERS;
    return new Response(stream(events, signal, left, keepAliveSeconds), { headers });
  }

  /** @param {Asked} request */
  async function handle(request) {
    const isRest = Boolean(keepSeconds) && (request.method === 'GET' || request.method === 'DELETE');
    if (request.method !== 'POST' && !isRest) return refuse(405, 'An agent takes POST only.');
    if (!(await isKnown(request.headers.get('x-internal-auth') ?? '', keys))) {
      return refuse(401, 'The key in X-Internal-Auth is missing or wrong.');
    }
    if (isRest) return handleKept(request);
    const message = await request.json().catch(() => null);
    if (typeof message?.session_id !== 'string' || request.signal.aborted) {
      return refuse(400, 'The body is not a message: it must be a JSON object with a session_id.');
    }
    const left = new AbortController();
    const turnId = request.headers.get('idempotency-key') ?? '';
    const isKept = Boolean(keepSeconds && turnId);
    const session = {
      sessionId: message.session_id,
      turnId,
      subject: request.headers.get('x-subject') ?? '',
      signal: isKept ? left.signal : AbortSignal.any([request.signal, left.signal]),
    };
    const events = eventsOf(() => answer(message, session), session.signal);
    if (!isKept) return respond(events, session.signal, left);
    const run = new Kept(events, left);
    kept.set(turnId, run);
    void run.ended.then(() => setTimeout(() => kept.get(turnId) === run && kept.delete(turnId), keepSeconds * 1000));
    return respond(run.after(0), request.signal, new AbortController());
  }

  return Object.assign(handle, { node: listener(handle) });
}

/** An answer that goes on without a reader: its events, each with its number. */
class Kept {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  events = [];
  #isOver = false;
  #wake = () => {};
  #changed = Promise.resolve();

  /** @param {AsyncGenerator<Uint8Array<ArrayBuffer>, void>} source @param {AbortController} stop */
  constructor(source, stop) {
    this.stop = stop;
    stop.signal.addEventListener('abort', () => void source.return());
    this.#renew();
    this.ended = this.#collect(source);
  }

  #renew() {
    const wake = this.#wake;
    this.#changed = new Promise((resolve) => (this.#wake = () => resolve()));
    wake();
  }

  /** @param {AsyncGenerator<Uint8Array<ArrayBuffer>, void>} source */
  async #collect(source) {
    for await (const data of source) {
      const id = encoder.encode(`id: ${this.events.length + 1}\n`);
      const numbered = new Uint8Array(id.length + data.length);
      numbered.set(id);
      numbered.set(data, id.length);
      this.events.push(numbered);
      this.#renew();
    }
    this.#isOver = true;
    this.#renew();
  }

  /** @param {number} number @returns {AsyncGenerator<Uint8Array<ArrayBuffer>, void>} */
  async *after(number) {
    for (;;) {
      const changed = this.#changed;
      for (; number < this.events.length; number += 1) yield this.events[number];
      if (this.#isOver) return;
      await changed;
    }
  }
}

/**
 * Yield an answer's server-sent events, up to the last one.
 * @param {() => AsyncIterable<string | object>} answer @param {AbortSignal} signal
 */
async function* eventsOf(answer, signal) {
  try {
    for await (const item of answer()) yield event(item);
    yield event(FINAL);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof AgentError)) console.error('The answer failed:', error);
    yield event({ type: 'error', content: error instanceof AgentError ? error.message : NO_WORDS });
  }
}

/** @param {unknown} item */
function event(item) {
  if (typeof item === 'string') item = { type: 'assistant_message', token: item, is_final: false };
  if (typeof item !== 'object' || item === null) throw new TypeError('An answer yields texts and objects.');
  return encoder.encode(`data: ${JSON.stringify(item)}\n\n`);
}

/**
 * @param {AsyncGenerator<Uint8Array<ArrayBuffer>, void>} events @param {AbortSignal} signal
 * @param {AbortController} left @param {number} keepAliveSeconds
 */
function stream(events, signal, left, keepAliveSeconds) {
  /** @type {ReturnType<typeof setInterval>} */
  let timer;
  return new ReadableStream({
    start(controller) {
      const comment = encoder.encode(': still there\n\n');
      timer = setInterval(() => {
        if (controller.desiredSize) controller.enqueue(comment);
      }, keepAliveSeconds * 1000);
      signal.addEventListener('abort', () => {
        clearInterval(timer);
        void events.return();
      });
    },
    async pull(controller) {
      const { value, done } = await events.next();
      if (!done && !signal.aborted) return controller.enqueue(value);
      clearInterval(timer);
      controller.close();
    },
    cancel: () => left.abort(),
  });
}

/** Compare digests, so that the time tells nothing of a key. @type {(key: string, keys: readonly unknown[]) => Promise<boolean>} */
async function isKnown(key, keys) {
  const [sent, ...known] = await Promise.all([key, ...keys].map(digest));
  return known.includes(sent);
}

/** @param {unknown} text */
async function digest(text) {
  return String(new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(String(text)))));
}

/** @param {number} status @param {string} error */
function refuse(status, error) {
  return Response.json({ error }, { status, headers: { Allow: 'POST' } });
}

/** @type {(handle: (request: Asked) => Promise<Response>) => import('./index.js').Agent['node']} */
function listener(handle) {
  return async (incoming, outgoing) => {
    const gone = new AbortController();
    outgoing.on('close', () => gone.abort());
    const headers = { get: (/** @type {string} */ name) => incoming.headers[name]?.toString() ?? null };
    const json = async () => incoming.body ?? JSON.parse(await textOf(incoming)); // a body that Express has parsed
    const url = (incoming.url ?? '').split('?')[0];
    const response = await handle({ method: incoming.method ?? '', url, headers, json, signal: gone.signal });
    outgoing.writeHead(response.status, Object.fromEntries(response.headers));
    outgoing.flushHeaders();
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    for (let part = await reader.read(); !part.done && !gone.signal.aborted; part = await reader.read()) {
      if (!outgoing.write(part.value)) await new Promise((go) => outgoing.once('drain', () => go(null)));
    }
    outgoing.end();
  };
}

/** @param {AsyncIterable<Uint8Array>} chunks */
async function textOf(chunks) {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of chunks) text += decoder.decode(chunk, { stream: true });
  return text + decoder.decode();
}
