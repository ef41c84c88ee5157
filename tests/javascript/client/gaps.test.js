import assert from 'node:assert/strict';
import test from 'node:test';

import { accepted, final, ping, running, snapshot, token, userMessage } from './frames.js';
import { Page } from './page.js';

/** A page whose one turn `t1` has streamed `old`, and whose connection was lost then. */
async function openAndLose() {
  const page = await Page.open();
  const turn = page.send('hi');
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, 'old'));
  await page.socket.drop();
  return { page, turn };
}

test('a snapshot replaces the text', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  const texts = [];
  const reading = (async () => {
    for await (const text of turn) texts.push(text);
  })();
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, 'old'));
  await page.socket.drop();
  await page.reconnect({ offset: 90, after: null, active: running('t1') });
  await page.say(snapshot(90, 'the whole text'));
  await page.say(token(91, '.'), final(92));
  await reading;
  assert.deepEqual(texts, ['old', 'the whole text', 'the whole text.']);
  assert.equal(turn.text, 'the whole text.');
  assert.deepEqual(page.client.cursor, { epoch: 'E1', offset: 92 });
});

for (const [end, kind] of [
  [{ finish_reason: 'stop' }, 'final'],
  [{ finish_reason: 'error', error: { code: 'buffer_lost', content: 'Lost.' } }, 'error'],
]) {
  test(`a snapshot of a turn that ended with ${end.finish_reason} ends it`, async () => {
    const { page, turn } = await openAndLose();
    await page.reconnect({ offset: 90, after: null });
    await page.say(snapshot(90, 'all', end));
    assert.deepEqual([turn.status, turn.text, turn.finishReason], ['ended', 'all', end.finish_reason]);
    assert.deepEqual(page.heard(kind).map((event) => event.turn_id), ['t1']);
  });
}

test('turns that ended in a gap fail', async () => {
  const page = await Page.open();
  for (const content of ['gone', 'running', 'queued']) page.send(content);
  await page.say(accepted('m1', 't1'), accepted('m2', 't2'), accepted('m3', 't3'));
  await page.socket.drop();
  await page.reconnect({ offset: 90, after: null, active: running('t2'), queued: ['t3'] });
  await page.say(snapshot(90, 'half', { turn_id: 't2' }));
  assert.deepEqual(page.turns.map((turn) => turn.status), ['ended', 'running', 'queued']);
  assert.equal(page.turns[0].error.code, 'replay_gap');
});

// A snapshot in the middle of a connection tells of one turn only; the next welcome tells of the others.
for (const [queued, status] of [[['t2'], 'queued'], [[], 'ended']]) {
  test(`a client that was overtaken asks for its other turn, which is ${status}`, async () => {
    const page = await Page.open();
    page.send('long');
    page.send('next');
    await page.say(accepted('m1', 't1'), userMessage(1, { client_message_id: 'm1' }), accepted('m2', 't2'));
    await page.say(snapshot(500, 'so far'));
    assert.equal(page.state.code, 'gap');
    assert.deepEqual(page.turns.map((turn) => turn.status), ['running', 'queued']);
    await page.reconnect({ offset: 500, after: 500, active: running('t1'), queued });
    assert.deepEqual(page.socket.query, { coalesce: '1', epoch: 'E1', offset: '500' });
    await page.say(token(501, '.'), ping(501));
    assert.equal(page.turns[0].text, 'so far.');
    assert.equal(page.turns[1].status, status);
  });
}

test('an overtaken client with one turn goes on', async () => {
  const page = await Page.open();
  await page.say(userMessage(1), token(2, 'a'), snapshot(500, 'so far'), token(501, '.'));
  assert.equal(page.state.state, 'open');
  assert.equal(page.heard('token').at(-1).token, '.');
});

test('a new epoch with nothing kept fails accepted turns only', async () => {
  const page = await Page.open();
  const known = page.send('accepted');
  const unknown = page.send('not accepted');
  await page.say(accepted(), userMessage(1, { client_message_id: 'm1' }), token(2, 'a'));
  await page.socket.drop();
  await page.reconnect({ epoch: 'E2', after: null });
  await page.say(snapshot(0, null, { turn_id: null, epoch: 'E2', reason: 'epoch_changed' }));
  assert.equal(known.error.code, 'replay_gap');
  assert.equal(known.text, 'a');
  assert.deepEqual(page.sentIds, ['m2']);
  await page.say(userMessage(1, { turn_id: 't2', client_message_id: 'm2' }));
  assert.equal(unknown.status, 'running');
});

test('the epoch in the welcome of a new log is taken over', async () => {
  const page = await Page.open({ epoch: 'E1', after: 0, recovered: true }, { cursor: { epoch: 'E0', offset: 40 } });
  await page.say(userMessage(1));
  assert.deepEqual(page.client.cursor, { epoch: 'E1', offset: 1 });
});

test('a message whose turn is only in the snapshot gets its text', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  await page.socket.drop();
  await page.reconnect({ offset: 90, after: null });
  const ended = accepted('m1', 't1', { status: 'ended', position: null, duplicate: true });
  await page.say(snapshot(90, 'all', { finish_reason: 'stop' }), ended);
  assert.deepEqual([turn.status, turn.text, turn.error], ['ended', 'all', null]);
});

test('a message answered in a gap fails at the heartbeat', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  await page.socket.drop();
  await page.reconnect({ offset: 90, after: null });
  const ended = accepted('m1', 't1', { status: 'ended', position: null });
  await page.say(snapshot(90, 'other', { turn_id: 't9', finish_reason: 'stop' }), ended);
  assert.notEqual(turn.status, 'ended');
  await page.say(ping(90));
  assert.equal(turn.error.code, 'replay_gap');
});
