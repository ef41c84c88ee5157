import assert from 'node:assert/strict';
import test from 'node:test';

import { accepted, cancelAck, final, ping, running, snapshot, token, userMessage, welcome } from './frames.js';
import { Page } from './page.js';

const CANCEL = { type: 'cancel', turn_id: 't1' };

test('cancel stops the turn in flight', async () => {
  const page = await Page.open();
  await page.say(userMessage(1), token(2, 'a'));
  page.client.cancel();
  assert.deepEqual(page.socket.sent, [CANCEL]);
});

test('a stopped turn shows no later token', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, 'a'));
  turn.cancel();
  const end = final(5, { finish_reason: 'cancelled' });
  await page.say(token(3, 'b'), cancelAck('t1', 'cancelling'), token(4, 'c'), end);
  assert.deepEqual([turn.text, turn.isStopped, turn.finishReason], ['a', true, 'cancelled']);
  assert.deepEqual(page.heard('token').map((event) => event.token), ['a']);
  assert.equal(page.client.cursor.offset, 5);
});

test('a stopped turn is not resumed after a reconnect', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, 'a'));
  await page.socket.drop();
  page.client.cancel();
  await page.reconnect({ offset: 3, after: 2, active: running('t1') });
  assert.deepEqual(page.socket.sent, [CANCEL]);
  await page.say(token(3, 'b'), snapshot(50, 'abcdef'), final(51, { finish_reason: 'cancelled' }));
  assert.equal(turn.text, 'a');
});

test('cancel is sent again until it is acknowledged', async () => {
  const page = await Page.open();
  await page.say(userMessage(1));
  page.client.cancel();
  await page.socket.drop();
  await page.reconnect({ offset: 1, after: 1 });
  assert.deepEqual(page.socket.sent, [CANCEL]);
  await page.say(cancelAck('t1', 'cancelling'));
  await page.socket.drop();
  await page.reconnect({ offset: 1, after: 1 });
  assert.deepEqual(page.socket.sent, []);
});

test('cancel of a message not sent yet takes it back', async () => {
  const page = await Page.connect();
  const turn = page.send('hi');
  turn.cancel();
  await page.say(welcome());
  assert.deepEqual(page.socket.sent, []);
  assert.equal(turn.finishReason, 'cancelled');
  assert.equal(await turn.done, '');
});

test('cancel before accepted is sent when the id is known', async () => {
  const page = await Page.open();
  page.send('hi');
  page.client.cancel();
  assert.deepEqual(page.socket.sent.map((frame) => frame.type), ['user_message']);
  await page.say(accepted());
  assert.deepEqual(page.socket.sent.at(-1), CANCEL);
});

test('cancel with nothing known asks the server', async () => {
  const page = await Page.open();
  page.client.cancel();
  assert.deepEqual(page.socket.sent, [{ type: 'cancel' }]);
  await page.say(cancelAck('t5', 'queued'), userMessage(1, { turn_id: 't5' }), token(2, 'x', { turn_id: 't5' }));
  assert.deepEqual(page.heard('token'), []);
});

test('cancel of a turn that ended long ago tells no error', async () => {
  const page = await Page.open();
  page.client.cancel('t0');
  await page.say(cancelAck('t0', 'already_ended'), ping(0));
  assert.deepEqual(page.heard('error'), []);
});
