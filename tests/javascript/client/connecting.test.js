import assert from 'node:assert/strict';
import test from 'node:test';

import { connect } from '../implementation.js';
import { running } from './frames.js';
import { CONNECT_LIMIT_MS, MAX_DELAY_MS, Page, passTime } from './page.js';

test('a session id opens a socket of the page', async () => {
  const page = await Page.connect({ sessionId: 'a:b~@c.d-1' });
  assert.equal(page.socket.url.href, 'ws://gateway.test/ws/a%3Ab~%40c.d-1/?coalesce=1');
  assert.deepEqual(page.socket.protocols, ['gateway.v1']);
  assert.equal(page.state.state, 'connecting');
});

for (const [options, address] of [
  [{ base: 'https://chat.example.com' }, 'wss://chat.example.com/ws/s1/?coalesce=1'],
  [{ base: 'https://chat.example.com/gateway/' }, 'wss://chat.example.com/gateway/ws/s1/?coalesce=1'],
  [{ base: 'ws://127.0.0.1:8000' }, 'ws://127.0.0.1:8000/ws/s1/?coalesce=1'],
  [{ base: '/gateway' }, 'ws://gateway.test/gateway/ws/s1/?coalesce=1'],
  [{ url: 'wss://chat.example.com/ws/x/' }, 'wss://chat.example.com/ws/x/?coalesce=1'],
  [{ url: '/ws/x/?tenant=1#part' }, 'ws://gateway.test/ws/x/?tenant=1&coalesce=1'],
  [{ coalesce: false }, 'ws://gateway.test/ws/s1/'],
  [{ cursor: { offset: 0 } }, 'ws://gateway.test/ws/s1/?coalesce=1&offset=0'],
  [{ cursor: { epoch: 'E9', offset: 12 } }, 'ws://gateway.test/ws/s1/?coalesce=1&epoch=E9&offset=12'],
  [{ cursor: null }, 'ws://gateway.test/ws/s1/?coalesce=1'],
]) {
  test(`options ${JSON.stringify(options)} build the address`, async () => {
    const page = await Page.connect(options);
    assert.equal(page.socket.url.href, address);
  });
}

for (const sessionId of ['', '.', '..', 'a/b', 'ä', 'x'.repeat(129)]) {
  test(`the invalid session id ${JSON.stringify(sessionId.slice(0, 9))} throws`, () => {
    const { WebSocket } = new Page();
    assert.throws(() => connect({ sessionId, WebSocket }), TypeError);
  });
}

test('an environment without a WebSocket throws, and says what to pass', () => {
  new Page();
  const { WebSocket } = globalThis;
  globalThis.WebSocket = undefined;
  try {
    assert.throws(() => connect({ sessionId: 's1' }), /There is no WebSocket here: pass a class/);
  } finally {
    globalThis.WebSocket = WebSocket;
  }
});

test('the ticket callback is asked for every connection', async () => {
  let count = 0;
  const page = await Page.connect({ ticket: async () => `ü?>${(count += 1)}` });
  await page.dropAndWait();
  const encoded = (number) => Buffer.from(`ü?>${number}`).toString('base64url');
  assert.deepEqual(page.sockets.map((socket) => socket.protocols), [
    ['gateway.v1', `gateway.ticket.${encoded(1)}`],
    ['gateway.v1', `gateway.ticket.${encoded(2)}`],
  ]);
});

test('a ticket of null is left out', async () => {
  const page = await Page.connect({ ticket: () => null });
  assert.deepEqual(page.socket.protocols, ['gateway.v1']);
});

test('a ticket callback that fails is asked again later', async () => {
  let works = false;
  const page = await Page.connect({
    ticket: async () => {
      if (!works) throw new Error('no ticket');
      return 'x';
    },
  });
  assert.equal(page.state.code, 'connect_failed');
  assert.equal(page.sockets.length, 0);
  works = true;
  await passTime(MAX_DELAY_MS);
  assert.equal(page.sockets.length, 1);
});

test('a ticket callback that hangs is given up', async () => {
  let answerLate;
  const page = await Page.connect({
    ticket: () => new Promise((resolve) => { answerLate ??= () => resolve('late'); }),
  });
  await passTime(CONNECT_LIMIT_MS);
  assert.equal(page.state.code, 'line_dead');
  answerLate();
  await passTime(0);
  assert.equal(page.sockets.length, 0);
});

test('a handshake without a welcome is given up', async () => {
  const page = await Page.connect();
  await passTime(CONNECT_LIMIT_MS - 1);
  assert.equal(page.state.state, 'connecting');
  await passTime(1);
  assert.equal(page.state.state, 'waiting');
  assert(page.sockets[0].isClosed);
});

test('a welcome opens the client', async () => {
  const page = await Page.open({ active: running('t7') });
  assert.deepEqual(page.state, { state: 'open' });
  assert.deepEqual(page.heard('state', 'welcome').map(({ kind }) => kind), ['state', 'welcome']);
  assert.equal(page.client.activeTurnId, 't7');
});
