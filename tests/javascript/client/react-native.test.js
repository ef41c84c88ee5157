import assert from 'node:assert/strict';
import test, { afterEach, beforeEach } from 'node:test';

import { connect, newId } from '../implementation.js';
import { welcome } from './frames.js';
import { Page, settle } from './page.js';
import { Rest } from './rest.js';

/** All that can be relied on in React Native's `URL`: it keeps the address as it is given, and has no setters. */
class FixedUrl {
  #href;

  constructor(href) {
    this.#href = href;
    Object.freeze(this);
  }

  get href() {
    return this.#href;
  }
}

/** React Native has no page, no random numbers, and responses that cannot be read as they arrive. */
const GLOBALS = { URL: FixedUrl, Response: class {}, crypto: undefined };
const BASE = 'https://chat.example.com/a';

let before;

beforeEach(() => {
  before = Object.keys(GLOBALS).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
});

afterEach(() => {
  for (const [name, descriptor] of before) Object.defineProperty(globalThis, name, descriptor);
});

/** A page whose globals are those of an app. */
function app() {
  const page = new Page();
  for (const [name, value] of Object.entries(GLOBALS)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  globalThis.location = undefined;
  return page;
}

test('addresses need no other URL than its own', async () => {
  const { sockets, WebSocket } = app();
  connect({ base: BASE, sessionId: 's1', cursor: { epoch: 'E1', offset: 3 }, WebSocket });
  await settle();
  assert.equal(sockets[0].url.href, 'wss://chat.example.com/a/ws/s1/?coalesce=1&epoch=E1&offset=3');
});

test('the cursor replaces the one before', async () => {
  const page = app();
  page.client = connect({ url: 'ws://chat.example.com/ws/s1/?offset=9&tenant=a&offset=8', cursor: { offset: 3 }, WebSocket: page.WebSocket });
  await settle();
  assert.equal(page.socket.url.href, 'ws://chat.example.com/ws/s1/?tenant=a&coalesce=1&offset=3');
});

test('without base there is no address, and the error says so', () => {
  const { WebSocket } = app();
  assert.throws(() => connect({ sessionId: 's1', WebSocket }), /There is no page here: pass base/);
});

test('no event stream is read in place of a socket', async () => {
  const rest = new Rest();
  const page = app();
  page.client = connect({ base: BASE, sessionId: 's1', WebSocket: page.WebSocket });
  await settle();
  for (let dropped = 0; dropped < 3; dropped++) await page.dropAndWait();
  assert.equal(page.sockets.length, 4);
  await page.say(welcome());
  assert.equal(page.state.state, 'open');
  assert.deepEqual(rest.asked, []);
});

test('without random numbers an id is refused, and the error names the package', () => {
  app();
  assert.throws(newId, /There is no crypto here: import react-native-get-random-values first/);
});
