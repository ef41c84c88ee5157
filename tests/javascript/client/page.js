/** A page with one client, over a fake WebSocket and a clock that the test moves. It speaks in frames. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock } from 'node:test';

import { connect, KINDS } from '../implementation.js';
import { HEARTBEAT_SECONDS, welcome } from './frames.js';

export const MAX_DELAY_MS = 15_000;
export const STABLE_MS = 5_000;
export const CONNECT_LIMIT_MS = 20_000;
export const SILENCE_LIMIT_MS = 2.5 * HEARTBEAT_SECONDS * 1000;
const START_MS = 1_000_000;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: START_MS });
  mock.method(globalThis, 'fetch', () => new Promise(() => {})); // no test reaches the network
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

/** Let everything run that waits for nothing but its turn. */
export const settle = () => new Promise(setImmediate);

/** Does only what the test tells it to. */
class FakeWebSocket {
  sent = [];
  isClosed = false;

  constructor(url, protocols) {
    this.url = new URL(url);
    this.protocols = protocols;
  }

  get query() {
    return Object.fromEntries(this.url.searchParams);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  /** Receive from the server. */
  async receive(data) {
    this.onmessage({ data });
    await settle();
  }

  async drop(code = 1006) {
    this.onclose({ code });
    await settle();
  }
}

export class Page {
  /** Every connection, the newest last. */
  sockets = [];
  /** The turns of the messages that {@link send} sent. */
  turns = [];
  #window = new EventTarget();
  #document = Object.assign(new EventTarget(), { hidden: false });
  #heard = [];

  constructor() {
    const { sockets } = this;
    this.WebSocket = class extends FakeWebSocket {
      constructor(...address) {
        super(...address);
        sockets.push(this);
      }
    };
    for (const name of ['addEventListener', 'removeEventListener']) {
      globalThis[name] = (...given) => this.#window[name](...given);
    }
    globalThis.document = this.#document;
    globalThis.location = new URL('http://gateway.test/');
  }

  /** A page whose client connects. */
  static async connect(options = {}) {
    const page = new Page();
    page.client = connect({ sessionId: 's1', WebSocket: page.WebSocket, ...options });
    for (const kind of KINDS) page.client.on(kind, (frame) => page.#heard.push({ kind, ...frame }));
    await settle();
    return page;
  }

  /** A page whose client is connected and was welcomed. */
  static async open(welcomeFields = {}, options = {}) {
    const page = await Page.connect(options);
    await page.say(welcome(welcomeFields));
    return page;
  }

  /** The newest connection. */
  get socket() {
    return this.sockets.at(-1);
  }

  get state() {
    return this.client.state;
  }

  /** The content of each message that went over the newest connection. */
  get sentContents() {
    return this.socket.sent.map((message) => message.content);
  }

  /** The id of each message that went over the newest connection. */
  get sentIds() {
    return this.socket.sent.map((message) => message.client_message_id);
  }

  /** What the client told of these kinds, in order. */
  heard(...kinds) {
    return this.#heard.filter(({ kind }) => kinds.includes(kind));
  }

  /** Say frames as the server, one directly after the other. */
  async say(...frames) {
    for (const frame of frames) this.socket.onmessage({ data: JSON.stringify(frame) });
    await settle();
  }

  /** Send a message from the page; the first one's id is `m1`. */
  send(content, options = {}) {
    const turn = this.client.send(content, { clientMessageId: `m${this.turns.length + 1}`, ...options });
    this.turns.push(turn);
    return turn;
  }

  async goOnline() {
    this.#window.dispatchEvent(new Event('online'));
    await settle();
  }

  async goOffline() {
    this.#window.dispatchEvent(new Event('offline'));
    await settle();
  }

  async changeVisibility({ hidden }) {
    this.#document.hidden = hidden;
    this.#document.dispatchEvent(new Event('visibilitychange'));
    await settle();
  }

  async wake() {
    this.client.wake();
    await settle();
  }

  /** Let the server drop the connection, and wait as long as a client waits at most. */
  async dropAndWait(code) {
    await this.socket.drop(code);
    await passTime(MAX_DELAY_MS);
  }

  /** Let the wait pass, and welcome the next connection. */
  async reconnect(welcomeFields = {}) {
    const count = this.sockets.length;
    await passTime(MAX_DELAY_MS);
    assert.equal(this.sockets.length, count + 1);
    await this.say(welcome({ recovered: true, ...welcomeFields }));
  }
}

/** Let time pass; all that falls due happens at its own millisecond. */
export async function passTime(ms) {
  mock.timers.tick(0);
  for (let passed = 0; passed < ms; passed++) {
    mock.timers.tick(1);
    await null;
  }
  await settle();
}

/** Move the clock while no timer fires, as a machine does that sleeps. */
export const sleep = (ms) => mock.timers.setTime(Date.now() + ms);

/** Let every later draw of lots give this. */
export const fixRandom = (value) => mock.method(Math, 'random', () => value);
