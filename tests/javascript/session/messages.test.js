import assert from 'node:assert/strict';
import test from 'node:test';

import { accepted, cancelAck, disconnect, failure, final, running, snapshot, token, userMessage, welcome } from '../client/frames.js';
import { passTime } from '../client/page.js';
import { GatewaySession } from '../package/gateway-session.js';
import { Conversation } from './conversation.js';

const LINGER_MS = 5000;
const MINE = { client_message_id: 'm1' };
const send = (conversation, text, options) => conversation.session.send(text, { clientMessageId: 'm1', ...options });

test('a session is nothing but a state until it is drawn', async () => {
  const conversation = new Conversation();
  await passTime(0);
  assert.equal(conversation.sockets.length, 0);
  const { messages, status, connection, pending } = conversation.shown;
  assert.deepEqual({ messages, status, connection, pending }, { messages: [], status: 'ready', connection: { state: 'connecting' }, pending: [] });
  assert.equal(conversation.session.getServerSnapshot(), conversation.shown);
});

test('a server without a WebSocket may render it', () => {
  const { WebSocket } = globalThis;
  globalThis.WebSocket = undefined;
  try {
    assert.equal(new GatewaySession({ sessionId: 's1' }).getServerSnapshot().status, 'ready');
  } finally {
    globalThis.WebSocket = WebSocket;
  }
});

test('it connects to all that the log holds when it is drawn', async () => {
  const conversation = await Conversation.drawn();
  assert.deepEqual(conversation.socket.query, { coalesce: '1', offset: '0' });
});

test('a message is shown at once, then its answer', async () => {
  const conversation = await Conversation.open();
  const turn = send(conversation, 'Capital?');
  assert.deepEqual([conversation.texts, conversation.shown.status], [['user sending: Capital?'], 'submitted']);
  await conversation.say(accepted());
  assert.deepEqual(conversation.texts, ['user queued: Capital?']);
  await conversation.say(userMessage(1, { ...MINE, content: 'Capital?' }));
  assert.deepEqual([conversation.texts, conversation.shown.status], [['user sent: Capital?'], 'submitted']);
  await conversation.say(token(2, 'Par'));
  assert.deepEqual([conversation.texts.at(-1), conversation.shown.status], ['assistant streaming: Par', 'streaming']);
  await conversation.say(token(3, 'is.'), final(4));
  assert.deepEqual([conversation.texts, conversation.shown.status], [['user sent: Capital?', 'assistant ended: Paris.'], 'ready']);
  assert.deepEqual(conversation.messages.map(({ id, turnId }) => [id, turnId]), [['m1', 't1'], ['m1:answer', 't1']]);
  assert.equal(conversation.messages[1].finishReason, 'stop');
  assert.equal(await turn.done, 'Paris.');
});

test('a message before the page is drawn connects it', async () => {
  const conversation = new Conversation();
  send(conversation, 'hi');
  await passTime(0);
  await conversation.say(welcome());
  assert.deepEqual(conversation.sentContents, ['hi']);
});

test('a token changes the last message and nothing else', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1), token(2, 'a'), final(3), userMessage(4, { turn_id: 't2' }));
  await conversation.say(token(5, 'b', { turn_id: 't2' }));
  const before = conversation.shown;
  await conversation.say(token(6, 'c', { turn_id: 't2' }));
  const after = conversation.shown;
  assert.notEqual(after.messages[3], before.messages[3]);
  assert.deepEqual(after.messages.slice(0, 3).map((message, index) => message === before.messages[index]), [true, true, true]);
  assert.equal(after.connection, before.connection);
  assert.equal(after.pending, before.pending);
});

test('what concerns no message keeps the list', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1), token(2, 'a'), final(3));
  const { messages } = conversation;
  await conversation.socket.drop();
  assert.equal(conversation.shown.connection.state, 'waiting');
  assert.equal(conversation.messages, messages);
});

test('the actions and an unchanged state are the same objects', async () => {
  const conversation = await Conversation.open();
  const before = conversation.shown;
  assert.equal(conversation.shown, before);
  await conversation.say(userMessage(1));
  for (const name of ['send', 'answer', 'stop', 'regenerate', 'loadOlder']) {
    assert.equal(conversation.shown[name], before[name]);
    assert.equal(conversation.shown[name], conversation.session[name]);
  }
});

test('turns stand in the order in which they start', async () => {
  const conversation = await Conversation.open();
  send(conversation, 'mine');
  await conversation.say(accepted('m1', 't2', { position: 1 }), userMessage(1, { content: 'another tab\'s' }), token(2, 'a'));
  assert.deepEqual(conversation.texts, ['user sent: another tab\'s', 'assistant streaming: a', 'user queued: mine']);
  await conversation.say(final(3), userMessage(4, { ...MINE, turn_id: 't2', content: 'mine' }));
  assert.deepEqual(conversation.texts.at(-1), 'user sent: mine');
});

test('a refused message says why, and can be sent again', async () => {
  const conversation = await Conversation.open();
  send(conversation, 'hi');
  await conversation.say({ ...failure(undefined, { code: 'queue_full', turn_id: undefined }), ...MINE });
  const [message] = conversation.messages;
  assert.deepEqual([message.status, message.error.code, conversation.shown.status], ['failed', 'queue_full', 'error']);
  const turn = conversation.session.regenerate();
  assert.deepEqual(conversation.texts, ['user sending: hi']);
  assert.deepEqual([conversation.socket.sent.at(-1).content, turn.status], ['hi', 'sending']);
});

test('a message to a closed session is shown as refused', async () => {
  const conversation = await Conversation.open();
  await conversation.say(disconnect('session_deleted', { reconnect: false }));
  send(conversation, 'hi');
  assert.deepEqual([conversation.texts, conversation.shown.connection.code], [['user failed: hi'], 'session_deleted']);
});

test('a failed answer says why', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1), token(2, 'a'), failure(3));
  const [, answer] = conversation.messages;
  assert.deepEqual([answer.status, answer.error.code, answer.parts, conversation.shown.status], ['failed', 'upstream_error', [{ type: 'text', text: 'a' }], 'error']);
});

test('stop stops the turn in flight', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1), token(2, 'a'));
  conversation.session.stop();
  assert.deepEqual(conversation.socket.sent.at(-1), { type: 'cancel', turn_id: 't1' });
  await conversation.say(cancelAck('t1', 'cancelling'), token(3, 'b'), final(4, { finish_reason: 'cancelled' }));
  const [, answer] = conversation.messages;
  assert.deepEqual([answer.status, answer.finishReason, answer.parts], ['ended', 'cancelled', [{ type: 'text', text: 'a' }]]);
});

test('a queued turn that is told to stop does not take a place before its time', async () => {
  const conversation = await Conversation.open({ active: running('t1') });
  await conversation.say(userMessage(1), token(2, 'a'));
  send(conversation, 'mine');
  await conversation.say(accepted('m1', 't2'));
  conversation.session.stop('t2');
  await conversation.say(cancelAck('t2', 'queued'));
  assert.deepEqual(conversation.texts, ['user sent: hi', 'assistant streaming: a', 'user queued: mine']);
});

test('a message that is stopped before it was sent is cancelled', async () => {
  const conversation = await Conversation.drawn();
  send(conversation, 'hi').cancel();
  assert.equal(conversation.messages[0].status, 'cancelled');
  assert.equal(conversation.shown.status, 'ready');
});

test('an answer is made again in the place of the old one', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1, { content: 'first' }), token(2, 'a'), final(3));
  await conversation.say(userMessage(4, { content: 'second', turn_id: 't2' }), token(5, 'b', { turn_id: 't2' }), final(6, { turn_id: 't2' }));
  conversation.session.regenerate();
  const { content, replaces, on_busy, client_message_id } = conversation.socket.sent.at(-1);
  assert.deepEqual({ content, replaces, on_busy }, { content: 'second', replaces: 't2', on_busy: 'interrupt' });
  assert.deepEqual(conversation.texts.slice(2), ['user sending: second']);
  await conversation.say(userMessage(7, { content: 'second', turn_id: 't3', replaces: 't2', client_message_id }));
  assert.deepEqual(conversation.texts.slice(2), ['user sent: second']);
  conversation.session.regenerate('t1');
  assert.equal(conversation.socket.sent.at(-1).content, 'first');
});

test('an old answer that another tab has made again is not shown', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1), token(2, 'a'), final(3), userMessage(4, { turn_id: 't2', replaces: 't1' }));
  assert.deepEqual(conversation.messages.map(({ turnId }) => turnId), ['t2']);
});

test('an answer whose making again is refused is shown again', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1), token(2, 'a'), final(3));
  conversation.session.regenerate();
  assert.equal(conversation.messages.length, 1);
  const { client_message_id } = conversation.socket.sent.at(-1);
  await conversation.say({ ...failure(undefined, { code: 'rate_limited', turn_id: undefined }), client_message_id });
  assert.deepEqual(conversation.texts, ['user sent: hi', 'assistant ended: a', 'user failed: hi']);
});

test('nothing is made again where nothing was asked', async () => {
  const conversation = await Conversation.open();
  assert.equal(conversation.session.regenerate(), null);
});

test('a question of the agent is listed and answered, in another turn than the one that asked', async () => {
  const conversation = await Conversation.open();
  const call = { type: 'tool_call', call_id: 'c', tool_name: 'pay', arguments: {}, requires_approval: true };
  await conversation.say(userMessage(1), { ...call, turn_id: 't1', offset: 2 }, final(3, { finish_reason: 'interrupt' }));
  assert.deepEqual(conversation.shown.pending.map(({ call_id }) => call_id), ['c']);
  const tool = () => conversation.messages[1].parts[0];
  assert.deepEqual([tool().state, tool().question], ['asking', 'c']);
  conversation.session.answer('c', 'approve');
  const { type, decision, client_message_id } = conversation.socket.sent.at(-1);
  assert.deepEqual([type, decision], ['hitl_decision', 'approve']);
  await conversation.say({ type, decision, client_message_id, call_id: 'c', turn_id: 't2', offset: 4 });
  await conversation.say({ type: 'pending_resolved', call_id: 'c', turn_id: 't2', offset: 5 });
  assert.deepEqual([tool().state, conversation.shown.pending], ['running', []]);
  await conversation.say({ type: 'tool_result', call_id: 'c', result: 1, turn_id: 't2', offset: 6 }, final(7, { turn_id: 't2' }));
  assert.deepEqual([tool().state, tool().output, conversation.messages[1].status], ['done', 1, 'ended']);
});

test('an operator\'s words are a message', async () => {
  const conversation = await Conversation.open();
  await conversation.say({ type: 'notice', code: 'operator', content: 'We restart at six.' });
  assert.deepEqual(conversation.texts, ['notice ended: We restart at six.']);
});

test('a turn\'s notice is a part of its answer', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1), { type: 'notice', code: 'x', content: 'Left out.', turn_id: 't1', offset: 2 });
  assert.deepEqual(conversation.texts.at(-1), 'assistant streaming: Left out.');
});

// The connection.

test('a cut in mid-answer heals', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1), token(2, 'a'));
  await conversation.socket.drop();
  await conversation.reconnect({ active: running('t1'), after: 2, offset: 3 });
  await conversation.say(token(3, 'b'), final(4));
  assert.deepEqual(conversation.texts, ['user sent: hi', 'assistant ended: ab']);
});

test('a page that is left for a moment stays connected, as in React\'s StrictMode', async () => {
  const conversation = await Conversation.open();
  conversation.leave();
  conversation.session.subscribe(() => {});
  await passTime(2 * LINGER_MS);
  assert.deepEqual([conversation.sockets.length, conversation.socket.isClosed], [1, false]);
});

test('a page that is left for longer disconnects, its turns go on, and it starts again from the log', async () => {
  const conversation = await Conversation.open();
  send(conversation, 'hi');
  await conversation.say(accepted(), userMessage(1, MINE), token(2, 'a'));
  conversation.leave();
  await passTime(LINGER_MS);
  assert(conversation.socket.isClosed);
  assert.equal(conversation.messages[1].status, 'streaming'); // nothing is said to have failed
  conversation.session.subscribe(() => {});
  await passTime(0);
  assert.equal(conversation.socket.query.offset, '0');
  await conversation.say(welcome({ offset: 4, active: null }), userMessage(1, MINE), token(2, 'a'), token(3, 'b'), final(4));
  assert.deepEqual(conversation.texts, ['user sent: hi', 'assistant ended: ab']);
});

test('a turn that the log has lost meanwhile does not run for ever', async () => {
  const conversation = await Conversation.open();
  await conversation.say(userMessage(1), token(2, 'a'));
  conversation.leave();
  await passTime(LINGER_MS);
  conversation.session.subscribe(() => {});
  await passTime(0);
  await conversation.say(welcome({ epoch: 'E2' }));
  assert.deepEqual([conversation.texts, conversation.shown.status], [[], 'ready']);
});

test('each connection gets the newest ticket', async () => {
  const conversation = await Conversation.drawn({ ticket: () => 'one' });
  conversation.session.options.ticket = () => 'two';
  await conversation.dropAndWait();
  const tickets = conversation.sockets.map(({ protocols }) => atob(protocols[1].split('.').at(-1)));
  assert.deepEqual(tickets, ['one', 'two']);
});

test('a snapshot has the answer so far', async () => {
  const conversation = await Conversation.open({ after: null, offset: 9, active: running('t1') });
  await conversation.say(snapshot(9, 'Paris is', { user_message: { type: 'user_message', content: 'Capital?' } }), token(10, ' it.'));
  assert.deepEqual(conversation.texts, ['user sent: Capital?', 'assistant streaming: Paris is it.']);
});
