import assert from 'node:assert/strict';
import test from 'node:test';

import { final, running, snapshot, token, userMessage, welcome } from '../client/frames.js';
import { passTime } from '../client/page.js';
import { Conversation, ended } from './conversation.js';

const ids = (conversation) => conversation.messages.filter(({ role }) => role === 'user').map(({ turnId }) => turnId);
const turn = (first, id) => [userMessage(first, { turn_id: id, content: `${id}?` }), token(first + 1, `${id}.`, { turn_id: id }), final(first + 2, { turn_id: id })];

test('the newest page is loaded at first, and joined with the log', async () => {
  const conversation = await Conversation.open({ history: true, offset: 6, active: running('t4') });
  await conversation.say(...turn(1, 't3'), userMessage(4, { turn_id: 't4', content: 't4?' }), token(5, 'a', { turn_id: 't4' }));
  assert.deepEqual(conversation.requested, ['']);
  const [, answer] = conversation.messages;
  await conversation.answer([ended('t3'), ended('t2')], 'c1');
  assert.deepEqual(ids(conversation), ['t2', 't3', 't4']);
  assert.equal(conversation.messages[3], answer); // what was shown stays as it is
  assert.deepEqual(conversation.texts.slice(0, 2), ['user sent: t2?', 'assistant ended: t2.']);
});

test('a gateway that keeps nothing but the log is not asked', async () => {
  const conversation = await Conversation.open({ history: false });
  assert.deepEqual(conversation.requested, []);
});

test('older pages are shown above, until there are no more', async () => {
  const conversation = await Conversation.open({ history: true });
  await conversation.answer([ended('t5'), ended('t4')], 'c1');
  const loading = conversation.session.loadOlder({ limit: 2 });
  await passTime(0);
  const { before, limit } = conversation.socket.sent.at(-1);
  assert.deepEqual([before, limit], ['c1', 2]);
  await conversation.answer([ended('t3'), ended('t2')], 'c2');
  assert.equal(await loading, true);
  const last = conversation.session.loadOlder();
  await conversation.answer([ended('t1')], null);
  assert.equal(await last, false);
  assert.equal(await conversation.session.loadOlder(), false);
  assert.deepEqual(ids(conversation), ['t1', 't2', 't3', 't4', 't5']);
  assert.deepEqual(conversation.requested, ['', 'c1', 'c2']);
});

test('a page that shows nothing new is followed by the next', async () => {
  const conversation = await Conversation.open({ history: false, offset: 6 });
  await conversation.say(...turn(1, 't3'), ...turn(4, 't4'));
  const loading = conversation.session.loadOlder();
  await passTime(0);
  await conversation.answer([ended('t4'), ended('t3')], 'c1');
  await conversation.answer([ended('t2')], 'c2');
  assert.equal(await loading, true);
  assert.deepEqual(ids(conversation), ['t2', 't3', 't4']);
});

test('older turns are asked for once they are wanted twice', async () => {
  const conversation = await Conversation.open({ history: true });
  await conversation.answer([ended('t2')], 'c1');
  const both = [conversation.session.loadOlder(), conversation.session.loadOlder()];
  await passTime(0);
  const page = { type: 'history', turns: [ended('t1')], next: null, incomplete: false };
  for (const { type, client_message_id } of conversation.socket.sent) if (type === 'history') await conversation.say({ ...page, client_message_id });
  assert.deepEqual(await Promise.all(both), [false, false]);
  assert.deepEqual(ids(conversation), ['t1', 't2']);
});

test('a page that cannot be read fails, and can be asked for again', async () => {
  const conversation = await Conversation.open({ history: true });
  await conversation.answer([ended('t2')], 'c1');
  const loading = conversation.session.loadOlder();
  await passTime(0);
  const isRefused = assert.rejects(loading, { code: 'store_unavailable' });
  const { client_message_id } = conversation.socket.sent.at(-1);
  await conversation.say({ type: 'error', code: 'store_unavailable', content: 'Later.', client_message_id });
  await isRefused;
  const again = conversation.session.loadOlder();
  await passTime(0);
  await conversation.answer([ended('t1')]);
  assert.equal(await again, false);
  assert.deepEqual(ids(conversation), ['t1', 't2']);
});

test('turns that ended while the log was away are read from the history', async () => {
  const conversation = await Conversation.open({ history: true, offset: 3 });
  await conversation.say(...turn(1, 't1'));
  await conversation.answer([ended('t1')], null);
  const [question] = conversation.messages;
  await conversation.socket.drop();
  await conversation.reconnect({ history: true, recovered: false, after: null, offset: 99, active: running('t4') });
  await conversation.say(snapshot(99, 'so far', { turn_id: 't4', history: true }));
  await conversation.answer([ended('t3'), ended('t2'), ended('t1')], null);
  assert.deepEqual(conversation.messages.map(({ turnId }) => turnId), ['t1', 't1', 't2', 't2', 't3', 't3', 't4']);
  assert.equal(conversation.messages[0], question);
});

test('turns behind others that are missing are left out, and loaded again from there', async () => {
  const conversation = await Conversation.open({ history: true, offset: 3 });
  await conversation.say(...turn(1, 't1'));
  await conversation.answer([ended('t1')], null);
  await conversation.socket.drop();
  await conversation.reconnect({ history: true, recovered: false, after: null, offset: 99 });
  await conversation.say(snapshot(99, null, { turn_id: null, history: true }));
  await conversation.answer([ended('t9'), ended('t8')], 'c8');
  assert.deepEqual(ids(conversation), ['t8', 't9']);
  const loading = conversation.session.loadOlder();
  await passTime(0);
  assert.equal(conversation.socket.sent.at(-1).before, 'c8');
  await conversation.answer([ended('t7')], null);
  await loading;
  assert.deepEqual(ids(conversation), ['t7', 't8', 't9']);
});

test('a log that is behind the history tells a turn once', async () => {
  const conversation = await Conversation.open({ history: true, offset: 3 });
  await conversation.answer([ended('t1', { events: [{ position: 0, event: { type: 'reasoning', token: 'hm' } }] })]);
  const shown = conversation.messages;
  await conversation.say(userMessage(1), { type: 'reasoning', token: 'hm', turn_id: 't1', offset: 2 }, token(3, 't1.'), final(4));
  assert.equal(conversation.messages, shown);
});

test('a log that is behind the history says which turn was replaced', async () => {
  const conversation = await Conversation.open({ history: true, offset: 6 });
  await conversation.answer([ended('t2'), ended('t1')]);
  await conversation.say(...turn(1, 't1'), userMessage(4, { turn_id: 't2', replaces: 't1' }), final(5, { turn_id: 't2' }));
  assert.deepEqual(ids(conversation), ['t2']);
});

test('a page that a server has rendered is shown at first', async () => {
  const history = { turns: [ended('t2'), ended('t1')], next: 'c1' };
  const conversation = await Conversation.drawn({ history });
  assert.deepEqual(ids(conversation), ['t1', 't2']);
  assert.equal(conversation.session.getServerSnapshot(), conversation.session.getServerSnapshot());
  await conversation.say(welcome({ history: true, offset: 3 }), ...turn(1, 't2'));
  assert.deepEqual(ids(conversation), ['t1', 't2']);
  assert.deepEqual(conversation.session.getServerSnapshot().messages.length, 4);
  const loading = conversation.session.loadOlder();
  await passTime(0);
  assert.deepEqual(conversation.requested, ['c1']);
  await conversation.answer([ended('t0')]);
  assert.equal(await loading, false);
  assert.deepEqual(ids(conversation), ['t0', 't1', 't2']);
});

test('a message of another kind is not what a person wrote, and a failed turn says why', async () => {
  const conversation = await Conversation.open({ history: true });
  const failed = { error: { code: 'upstream_eof', content: 'Cut.' }, finish_reason: 'error' };
  await conversation.answer([ended('t2', { message: '{"type":"hitl_decision"}' }), ended('t1', failed)]);
  assert.deepEqual(conversation.texts, ['user sent: t1?', 'assistant failed: t1.', 'assistant ended: t2.']);
  assert.equal(conversation.messages[1].error.code, 'upstream_eof');
});
