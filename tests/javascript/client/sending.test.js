import assert from 'node:assert/strict';
import test from 'node:test';

import { accepted, final, ping, token, userMessage, welcome } from './frames.js';
import { Page } from './page.js';

test('a message is sent with its id and fields', async () => {
  const page = await Page.open();
  page.send('hi', { onBusy: 'reject', type: 'hitl_decision', choice: 2 });
  const message = { type: 'hitl_decision', content: 'hi', choice: 2, client_message_id: 'm1', on_busy: 'reject' };
  assert.deepEqual(page.socket.sent, [message]);
});

test('a message without an id gets a random one', async () => {
  const page = await Page.open();
  const ids = [page.client.send('a').clientMessageId, page.client.send('a').clientMessageId];
  assert.equal(new Set(ids).size, 2);
  assert(ids.every((id) => id.length === 32));
});

test('a message sent twice under one id is one turn', async () => {
  const page = await Page.open();
  const send = () => page.client.send('a', { clientMessageId: 'm1' });
  const first = send();
  assert.equal(send(), first);
  await page.say(accepted());
  assert.equal(send(), first);
  assert.equal(page.socket.sent.length, 1);
});

test('a message with an invalid id throws', async () => {
  const page = await Page.open();
  assert.throws(() => page.client.send('a', { clientMessageId: 'ä' }), TypeError);
});

test('a message before the welcome is sent after it', async () => {
  const page = await Page.connect();
  page.send('a');
  page.send('b');
  assert.deepEqual(page.socket.sent, []);
  await page.say(welcome());
  assert.deepEqual(page.sentContents, ['a', 'b']);
});

test('a message not accepted is sent again with the same id', async () => {
  const page = await Page.open();
  page.send('a');
  page.send('b');
  await page.say(accepted('m1', 't1'));
  await page.socket.drop();
  await page.reconnect();
  assert.deepEqual(page.sentIds, ['m2']);
  await page.say(accepted('m2', 't2', { duplicate: true }));
  await page.socket.drop();
  await page.reconnect();
  assert.deepEqual(page.socket.sent, []);
});

test('a message whose first frame came counts as accepted', async () => {
  const page = await Page.open();
  const turn = page.send('a');
  await page.say(userMessage(1, { client_message_id: 'm1' }));
  assert.equal(await turn.accepted, 't1');
  await page.socket.drop();
  await page.reconnect();
  assert.deepEqual(page.socket.sent, []);
});

test('a message without a reply is sent again at the heartbeat', async () => {
  const page = await Page.open();
  page.send('a');
  await page.say(ping(0));
  assert.deepEqual(page.sentIds, ['m1', 'm1']);
});

test('an accepted message shows its place', async () => {
  const page = await Page.open();
  const turn = page.send('a');
  assert.equal(turn.status, 'sending');
  await page.say(accepted('m1', 't1', { position: 2 }));
  assert.deepEqual([turn.id, turn.status, turn.position], ['t1', 'queued', 2]);
  await page.say(userMessage(1, { client_message_id: 'm1' }));
  assert.deepEqual([turn.status, turn.position], ['running', null]);
});

test('an accepted after the turn ended changes nothing', async () => {
  const page = await Page.open();
  const turn = page.send('a');
  const late = accepted('m1', 't1', { status: 'running' });
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, 'x'), final(3), late, ping(3));
  assert.deepEqual([turn.status, turn.text, turn.error], ['ended', 'x', null]);
});

test('a refused message fails with its code', async () => {
  const page = await Page.open();
  const turn = page.send('a');
  await page.say({
    type: 'error', code: 'queue_full', content: 'Full.', client_message_id: 'm1', retry_after_ms: 900,
  });
  assert.deepEqual([turn.error.code, turn.error.retryAfterMs], ['queue_full', 900]);
  await assert.rejects(turn.done, { name: 'GatewayError', message: 'Full.' });
  await assert.rejects(turn.accepted, { code: 'queue_full' });
  assert.deepEqual(page.heard('refused').map((event) => event.code), ['queue_full']);
  await page.socket.drop();
  await page.reconnect();
  assert.deepEqual(page.socket.sent, []);
});

test('an error without a message or a turn is told as refused', async () => {
  const page = await Page.open();
  await page.say({ type: 'error', code: 'bad_request', content: 'Invalid JSON message' });
  assert.deepEqual(page.heard('refused').map((event) => event.code), ['bad_request']);
});

test('a message above the limit is refused here', async () => {
  const page = await Page.open({ max_message_bytes: 200 });
  const turn = page.send('ä'.repeat(100));
  assert.equal(turn.error.code, 'message_too_large');
  assert.deepEqual(page.socket.sent, []);
  page.send('ok');
  assert.equal(page.socket.sent.length, 1);
});

test('a message that broke the connection by its size is not sent again', async () => {
  const page = await Page.open();
  const turn = page.send('a');
  await page.socket.drop(1009);
  assert.equal(turn.error.code, 'message_too_large');
  await page.reconnect();
  assert.deepEqual(page.socket.sent, []);
});

test('more unsent messages than the bound are refused', async () => {
  const page = await Page.connect();
  const turns = Array.from({ length: 101 }, () => page.client.send('a'));
  assert.deepEqual(turns.map((turn) => turn.error?.code), [...Array(100).fill(undefined), 'queue_full']);
});
