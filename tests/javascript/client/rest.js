/** A gateway's REST as `fetch` sees it: the test answers each request, and writes each event. */
import { afterEach } from 'node:test';

import '../gateway-http-socket.js'; // which takes time to load, once
import { settle } from './page.js';

const encoder = new TextEncoder();
const { fetch } = globalThis;

afterEach(() => {
  globalThis.fetch = fetch;
});

/** One request, until the test answers it. */
class Asked {
  constructor(url, options) {
    this.url = url;
    this.options = options;
    this.answered = new Promise((resolve, reject) => {
      this.resolve = resolve;
      options.signal.addEventListener('abort', () => reject(options.signal.reason));
    });
  }

  get path() {
    return `${this.options.method ?? 'GET'} ${this.url.pathname}${this.url.search}`;
  }

  get body() {
    return JSON.parse(this.options.body);
  }

  get headers() {
    return this.options.headers;
  }

  /** Answer with JSON. */
  async answer(status, body) {
    const headers = { 'Content-Type': 'application/json' };
    this.resolve(new Response(status === 204 ? null : JSON.stringify(body), { status, headers }));
    await settle();
  }

  /** Answer with an event stream. */
  async open() {
    const body = new ReadableStream({ start: (controller) => (this.stream = controller) });
    this.options.signal.addEventListener('abort', () => {
      this.isLeft = true;
    });
    this.resolve(new Response(body, { headers: { 'Content-Type': 'text/event-stream' } }));
    await settle();
  }

  async write(text) {
    this.stream.enqueue(encoder.encode(text));
    await settle();
  }

  /** Write a frame with the cursor that it stands for. */
  async say(frame, id = frame.after ?? frame.offset) {
    await this.write(`id: E1:${id}\ndata: ${JSON.stringify(frame)}\n\n`);
  }

  async end() {
    this.stream.close();
    await settle();
  }
}

export class Rest {
  /** @type {Asked[]} every request, the newest last */
  asked = [];

  constructor() {
    globalThis.fetch = (url, options) => {
      const asked = new Asked(new URL(url), options);
      this.asked.push(asked);
      return asked.answered;
    };
  }

  get newest() {
    return this.asked.at(-1);
  }

  get paths() {
    return this.asked.map(({ path }) => path);
  }
}
