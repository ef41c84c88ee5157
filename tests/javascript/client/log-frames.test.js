import assert from 'node:assert/strict';
import test, { mock } from 'node:test';

import { KINDS } from '../implementation.js';
import {
  accepted, cancelAck, disconnect, failure, final, snapshot, token, userMessage, welcome,
} from './frames.js';
import { Page, fixRandom, passTime } from './page.js';

test('a turn of another tab is told frame by frame', async () => {
  const page = await Page.open();
  await page.say(userMessage(1, { content: 'hello' }), token(2, 'a'), token(3, 'b'), final(4));
  const kinds = page.heard('user_message', 'token', 'final').map(({ kind }) => kind);
  assert.deepEqual(kinds, ['user_message', 'token', 'token', 'final']);
  assert.deepEqual(page.client.cursor, { epoch: 'E1', offset: 4 });
  assert.equal(page.client.activeTurnId, null);
});

test('frames seen already are dropped', async () => {
  const page = await Page.open();
  await page.say(userMessage(1), token(2, 'a'), token(2, 'a'), userMessage(1), token(3, 'b'));
  assert.deepEqual(page.heard('token').map((frame) => frame.token), ['a', 'b']);
});

test('merged frames count as the frames they stand for', async () => {
  const page = await Page.open();
  const merged = token(4, 'abc', { from_offset: 2 });
  await page.say(userMessage(1), merged, merged, token(5, 'd'));
  assert.deepEqual(page.heard('token').map((frame) => frame.token), ['abc', 'd']);
  assert.equal(page.sockets.length, 1);
});

for (const frame of [token(3, 'b'), token(5, 'bcd', { from_offset: 3 })]) {
  test(`a hole in the offsets before ${frame.token} reconnects with the cursor`, async () => {
    const page = await Page.open();
    await page.say(userMessage(1), frame);
    assert.deepEqual(page.heard('token'), []);
    assert.equal(page.state.code, 'gap');
    await passTime(0);
    assert.deepEqual(page.socket.query, { coalesce: '1', epoch: 'E1', offset: '1' });
    assert(page.sockets[0].isClosed);
  });
}

test('a hole that stays backs off', async () => {
  fixRandom(1);
  const page = await Page.open();
  await page.say(token(9, 'x'));
  assert.equal(page.state.delayMs, 0);
  await passTime(0);
  await page.say(welcome({ recovered: true }), token(9, 'x'));
  assert.equal(page.state.delayMs, 2_000);
});

test('an old connection is not heard any more', async () => {
  const page = await Page.open();
  await page.socket.drop();
  await page.reconnect();
  await page.sockets[0].receive(JSON.stringify({ type: 'notice', code: 'x', content: 'late' }));
  await page.sockets[0].drop(1000);
  assert.deepEqual(page.heard('notice'), []);
  assert.equal(page.state.state, 'open');
});

for (const data of ['{', '[]', 'null', '{}', '{"type": 7}', new Blob([]), '{"type": "new"}']) {
  test(`${data}, which is no known frame, is ignored`, async () => {
    const page = await Page.open();
    await page.socket.receive(data);
    await page.say(userMessage(1));
    assert.equal(page.state.state, 'open');
    assert.equal(page.heard('user_message').length, 1);
  });
}

test('an unknown type in the log is an event', async () => {
  const page = await Page.open();
  const call = { type: 'tool_call', name: 'clock', from_offset: 9, turn_id: 't1', offset: 2 };
  await page.say(userMessage(1), call, token(3, 'a'));
  assert.deepEqual(page.heard('event').map((event) => event.name), ['clock']);
  assert.equal(page.heard('token').length, 1);
});

test('notices with and without a turn are told', async () => {
  const page = await Page.open();
  const notice = { type: 'notice', code: 'upstream_event_skipped', content: 'Skipped.' };
  await page.say(userMessage(1), { ...notice, turn_id: 't1', offset: 2 }, { ...notice, code: 'operator' });
  assert.deepEqual(page.heard('notice').map((event) => event.code), ['upstream_event_skipped', 'operator']);
});

test('every kind that the types describe is told', async () => {
  const page = await Page.open();
  page.send('hi');
  await page.say(
    accepted(),
    userMessage(1, { client_message_id: 'm1' }),
    { type: 'tool_call', turn_id: 't1', offset: 2 },
    token(3, 'a'),
    final(4),
    userMessage(5, { turn_id: 't2' }),
    { type: 'pending_resolved', call_id: 'c1', turn_id: 't2', offset: 6 },
    failure(7, { turn_id: 't2' }),
    snapshot(8, 'text', { turn_id: 't3' }),
    cancelAck('t3', 'cancelling'),
    { type: 'notice', code: 'operator', content: 'Hello.' },
    { type: 'error', code: 'bad_request', content: 'No.' },
    disconnect('server_restart', { reconnect: true, delay_ms: 0 }),
  );
  for (const kind of KINDS) assert.notDeepEqual(page.heard(kind), [], kind);
});

test('an emoji cut in halves is joined', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  const start = '{"type":"assistant_message","is_final":false,"turn_id":"t1"';
  await page.say(userMessage(1, { client_message_id: 'm1' }));
  await page.socket.receive(`${start},"token":"\\ud83d","offset":2}`);
  await page.socket.receive(`${start},"token":"\\ude00","offset":3}`);
  assert.equal(turn.text, '😀');
});

test('a handler that throws does not disturb others, and the page hears of it', async () => {
  const page = await Page.open();
  let calls = 0;
  page.client.on('token', () => {
    throw new Error('mine');
  });
  page.client.on('token', () => calls++);
  const reports = (globalThis.reportError = mock.fn());
  await page.say(userMessage(1), token(2, 'a'), token(3, 'b'));
  delete globalThis.reportError;
  assert.equal(calls, 2);
  assert.deepEqual(reports.mock.calls.map(({ arguments: [error] }) => error.message), ['mine', 'mine']);
});

test('a handler that throws where there is no page is told on the console, and ends nothing', async () => {
  const page = await Page.open();
  page.client.on('token', () => {
    throw new Error('mine');
  });
  delete globalThis.document;
  const { mock: said } = mock.method(console, 'error', () => {});
  await page.say(userMessage(1), token(2, 'a'), token(3, 'b'));
  assert.deepEqual(said.calls.map(({ arguments: [error] }) => error.message), ['mine', 'mine']);
  assert.equal(page.state.state, 'open');
});

test('a handler taken off is not called', async () => {
  const page = await Page.open();
  let calls = 0;
  page.client.on('token', () => calls++)();
  await page.say(userMessage(1), token(2, 'a'));
  assert.equal(calls, 0);
});
