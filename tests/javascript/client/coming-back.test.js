import assert from 'node:assert/strict';
import test from 'node:test';

import { disconnect, final, token, userMessage, welcome } from './frames.js';
import { MAX_DELAY_MS, Page, STABLE_MS, fixRandom, passTime } from './page.js';

test('the cursor before any frame is `after` of the welcome', async () => {
  const page = await Page.open({ offset: 7, after: 5 });
  await page.dropAndWait();
  assert.deepEqual(page.socket.query, { coalesce: '1', epoch: 'E1', offset: '5' });
});

test('the cursor before the welcome is the one given', async () => {
  const page = await Page.connect({ cursor: { offset: 0 } });
  await page.dropAndWait();
  assert.deepEqual(page.socket.query, { coalesce: '1', offset: '0' });
});

test('the cursor while a snapshot is awaited is the old one', async () => {
  const page = await Page.open({ after: null, recovered: false }, { cursor: { epoch: 'E0', offset: 3 } });
  await page.dropAndWait();
  assert.deepEqual(page.socket.query, { coalesce: '1', epoch: 'E0', offset: '3' });
});

test('a lost connection resumes after the last frame', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, 'a'));
  await page.socket.drop();
  await page.reconnect({ offset: 3, after: 2 });
  await page.say(token(3, 'b'), final(4));
  assert.equal(turn.text, 'ab');
  assert.equal(turn.status, 'ended');
});

test('the backoff doubles with full jitter up to its cap', async () => {
  const page = await Page.connect({ http: false });
  const delays = [];
  for (const random of [1, 1, 0.25, 1, 1, 1, 1]) {
    fixRandom(random);
    await page.socket.drop();
    delays.push(page.state.delayMs);
    await passTime(MAX_DELAY_MS);
  }
  assert.deepEqual(delays, [1_000, 2_000, 1_000, 8_000, MAX_DELAY_MS, MAX_DELAY_MS, MAX_DELAY_MS]);
});

test('the backoff starts again after a stable connection', async () => {
  fixRandom(1);
  const page = await Page.open();
  await page.socket.drop();
  await page.reconnect();
  await passTime(STABLE_MS - 1);
  await page.socket.drop();
  assert.equal(page.state.delayMs, 2_000);
  await page.reconnect();
  await passTime(STABLE_MS);
  await page.socket.drop();
  assert.equal(page.state.delayMs, 1_000);
});

test('a disconnect with a delay comes back when told', async () => {
  const page = await Page.open();
  await page.say(disconnect('server_restart', { reconnect: true, delay_ms: 4_321 }));
  const { state, code, delayMs } = page.state;
  assert.deepEqual([state, code, delayMs], ['waiting', 'server_restart', 4_321]);
  await passTime(4_320);
  assert.equal(page.sockets.length, 1);
  await passTime(1);
  assert.equal(page.sockets.length, 2);
});

test('a disconnect repeated at once backs off beyond its delay', async () => {
  fixRandom(1);
  const tooSlow = disconnect('too_slow', { reconnect: true, delay_ms: 0 });
  const page = await Page.open();
  await page.say(tooSlow);
  await passTime(0);
  await page.say(welcome(), tooSlow);
  assert.equal(page.state.delayMs, 2_000);
});

for (const code of ['unauthorized', 'forbidden', 'kicked', 'session_deleted']) {
  test(`the disconnect ${code} closes the client for good`, async () => {
    const page = await Page.open();
    await page.say(disconnect(code, { reconnect: false }));
    await page.dropAndWait(4408);
    assert.deepEqual(page.state, { state: 'closed', code, content: 'Bye.' });
    assert.equal(page.sockets.length, 1);
  });
}

for (const [closeCode, code] of [[1000, 'closed'], [4401, 'unauthorized'], [4403, 'forbidden']]) {
  test(`the close code ${closeCode} closes the client for good`, async () => {
    const page = await Page.connect();
    await page.dropAndWait(closeCode);
    assert.equal(page.state.code, code);
    assert.equal(page.sockets.length, 1);
  });
}

for (const closeCode of [1001, 1005, 1006, 1009, 1011, 1012, 4429, 4503, 4508]) {
  test(`after the close code ${closeCode} the client comes back`, async () => {
    const page = await Page.open();
    await page.dropAndWait(closeCode);
    assert.equal(page.sockets.length, 2);
  });
}

for (const [name, leave] of [
  ['a disconnect', (page) => page.say(disconnect('idle', { reconnect: true, delay_ms: 0 }))],
  ['close code 4408', (page) => page.socket.drop(4408)],
]) {
  test(`a client idle by ${name} sleeps until a message is sent`, async () => {
    const page = await Page.open();
    await leave(page);
    await passTime(10 * MAX_DELAY_MS);
    assert.equal(page.sockets.length, 1);
    assert.equal(page.state.delayMs, null);
    page.send('hi');
    await passTime(0);
    assert.equal(page.sockets.length, 2);
    await page.say(welcome());
    assert.deepEqual(page.sentContents, ['hi']);
  });
}

test('an idle client with an open turn comes back', async () => {
  const page = await Page.open();
  await page.say(userMessage(1), disconnect('idle', { reconnect: true, delay_ms: 10 }));
  await passTime(10);
  assert.equal(page.sockets.length, 2);
});

test('the online event ends the wait', async () => {
  const page = await Page.open();
  await page.socket.drop();
  await page.goOnline();
  assert.equal(page.sockets.length, 2);
});

test('the online event replaces an open connection', async () => {
  const page = await Page.open();
  await page.goOnline();
  await passTime(0);
  assert.equal(page.sockets.length, 2);
  assert(page.sockets[0].isClosed);
});

test('the offline event ends an open connection and no wait', async () => {
  const page = await Page.open();
  await page.goOffline();
  assert.equal(page.state.code, 'network_changed');
  assert(page.sockets[0].isClosed);
  await passTime(0);
  await page.socket.drop();
  await page.goOffline();
  assert.equal(page.sockets.length, 2);
});

test('a page that becomes visible ends the wait', async () => {
  const page = await Page.open();
  await page.socket.drop();
  await page.changeVisibility({ hidden: false });
  assert.equal(page.sockets.length, 2);
});

test('a hidden page waits on', async () => {
  const page = await Page.open();
  await page.socket.drop();
  await page.changeVisibility({ hidden: true });
  assert.equal(page.sockets.length, 1);
});

test('wake before the delay of the server waits on', async () => {
  const page = await Page.open();
  await page.say(disconnect('rate_limited', { reconnect: true, delay_ms: 9_000 }));
  await passTime(8_999);
  await page.wake();
  await page.goOnline();
  assert.equal(page.sockets.length, 1);
});
