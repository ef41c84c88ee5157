import assert from 'node:assert/strict';
import test from 'node:test';

import { accepted, disconnect, final, running, token, userMessage, welcome } from '../client/frames.js';
import { Page, passTime } from '../client/page.js';
import { GatewayChatTransport } from '../package/gateway-chat-transport.js';

const LINGER_MS = 5000;

/** A page with a transport, which opens a socket when it is used; its only chat is `s1`. */
class ChatPage extends Page {
  async say(...frames) {
    await passTime(0);
    await super.say(...frames);
  }
}

function open(options = {}) {
  const page = new ChatPage();
  page.transport = new GatewayChatTransport({ WebSocket: page.WebSocket, ...options });
  return page;
}

const send = (page, abortSignal, id = 'm1') => page.transport.sendMessages({
  chatId: 's1', trigger: 'submit-message', messages: [{ id, role: 'user', parts: [{ type: 'text', text: 'hi' }] }], abortSignal,
});

const resume = (page, abortSignal) => page.transport.reconnectToStream({ chatId: 's1', abortSignal });

/** A chat as `follow` takes one: it reads each answer that it is told to resume. */
class Chat {
  id = 's1';
  status = 'ready';
  messages = [];
  texts = [];

  constructor(page) {
    this.page = page;
  }

  async resumeStream() {
    const stream = await resume(this.page);
    if (stream) this.texts.push(await read(stream));
  }
}

async function read(stream) {
  let text = '';
  for await (const { delta = '' } of stream) text += delta;
  return text;
}

const cancelled = (page) => page.socket.sent.filter(({ type }) => type === 'cancel');

test('a session is left some time after its last answer, and opened again for the next', async () => {
  const page = open();
  const stream = await send(page);
  await page.say(welcome(), accepted(), userMessage(1), token(2, 'a'), final(3));
  assert.equal(await read(stream), 'a');
  await passTime(LINGER_MS - 1);
  assert.equal(page.socket.isClosed, false);
  await passTime(1);
  assert.equal(page.socket.isClosed, true);
  await send(page, undefined, 'm2');
  assert.equal(page.sockets.length, 2);
});

test('an effect that is run twice, as in StrictMode, keeps one connection', async () => {
  const page = open();
  const chat = new Chat(page);
  page.transport.follow(chat)();
  const leave = page.transport.follow(chat);
  await page.say(welcome());
  await passTime(LINGER_MS);
  assert.deepEqual([page.sockets.length, page.socket.isClosed], [1, false]);
  leave();
  await passTime(LINGER_MS);
  assert.equal(page.socket.isClosed, true);
});

test('a stopped answer ends at once, and its session is kept until the gateway has ended the turn', async () => {
  const page = open();
  const controller = new AbortController();
  const stream = await send(page, controller.signal);
  await page.say(welcome(), accepted(), userMessage(1, { client_message_id: 'm1' }), token(2, 'a'));
  controller.abort();
  await assert.rejects(read(stream), { name: 'AbortError' });
  assert.deepEqual(cancelled(page), [{ type: 'cancel', turn_id: 't1' }]);
  await passTime(2 * LINGER_MS);
  assert.equal(page.socket.isClosed, false);
  await page.say(final(3, { finish_reason: 'cancelled' }));
  await passTime(LINGER_MS);
  assert.equal(page.socket.isClosed, true);
});

test('a message that is stopped before it was sent is not sent', async () => {
  const page = open();
  const controller = new AbortController();
  await send(page, controller.signal);
  controller.abort();
  await passTime(0);
  await page.say(welcome());
  assert.deepEqual(page.socket.sent, []);
});

test('a resume that is aborted while it is pending stops nothing', async () => {
  const page = open();
  const controller = new AbortController();
  const pending = resume(page, controller.signal);
  controller.abort();
  assert.equal(await pending, null);
  await page.say(welcome({ active: running('t1') }), userMessage(1), token(2, 'a'));
  assert.deepEqual(cancelled(page), []);
});

test('a resume waits for a turn that is queued, and is null without one', async () => {
  const page = open();
  const pending = resume(page);
  await page.say(welcome({ queued: ['t1'] }));
  const stream = await pending;
  await page.say(userMessage(1), token(2, 'a'), final(3));
  assert.equal(await read(stream), 'a');
  assert.equal(await resume(page), null);
});

test('a resumed answer of which no frame has come yet is stopped by its id', async () => {
  const page = open();
  const controller = new AbortController();
  const pending = resume(page, controller.signal);
  await page.say(welcome({ active: running('t1') }));
  await pending;
  controller.abort();
  await passTime(0);
  assert.deepEqual(cancelled(page), [{ type: 'cancel', turn_id: 't1' }]);
});

test('a stream that is let go stops nothing', async () => {
  const page = open();
  const stream = await send(page);
  await page.say(welcome(), accepted(), userMessage(1), token(2, 'a'));
  await stream.cancel();
  await page.say(token(3, 'b'), final(4));
  assert.deepEqual(cancelled(page), []);
});

test('a turn of another tab is shown when the chat is idle, with its question', async () => {
  const page = open();
  const chat = new Chat(page);
  chat.status = 'streaming';
  page.transport.follow(chat);
  await page.say(welcome(), userMessage(1, { content: 'Who?' }), token(2, 'I'), final(3));
  assert.deepEqual(chat.messages, []);
  chat.status = 'ready';
  await passTime(100);
  assert.deepEqual(chat.texts, ['I']);
  assert.deepEqual(chat.messages, [{ id: 't1:user', role: 'user', parts: [{ type: 'text', text: 'Who?' }] }]);
});

test('a refusal that is final has words, and the next message opens a connection that is followed again', async () => {
  const page = open();
  const chat = new Chat(page);
  page.transport.follow(chat);
  const stream = await send(page);
  await page.say(welcome(), disconnect('forbidden', { reconnect: false, content: 'Go away.' }));
  await assert.rejects(read(stream), { message: 'Go away.', code: 'forbidden' });
  await send(page, undefined, 'm2');
  assert.equal(page.sockets.length, 2);
  await page.say(welcome(), userMessage(1, { turn_id: 't9' }), token(2, 'x', { turn_id: 't9' }), final(3, { turn_id: 't9' }));
  assert.deepEqual(chat.texts, ['x']);
});

test('a resume of a session that sends the page away fails in its words', async () => {
  const page = open();
  const failed = assert.rejects(resume(page), { message: 'Log in.', code: 'unauthorized' });
  await page.say(disconnect('unauthorized', { reconnect: false, content: 'Log in.' }));
  await failed;
});

test('the ticket callback is given the chat, and an id that is no session id is mapped as over HTTP', async () => {
  const asked = [];
  const page = open({ ticket: async (chatId) => void asked.push(chatId) });
  await page.transport.reconnectToStream({ chatId: 'größe', abortSignal: AbortSignal.abort() });
  await passTime(0);
  assert.deepEqual(asked, ['größe']);
  assert.match(page.socket.url.pathname, /^\/ws\/~Z3LDtsOfZQ\/$/);
});

test('close leaves all sessions, and answers fail', async () => {
  const page = open();
  const stream = await send(page);
  page.transport.close();
  await assert.rejects(read(stream), { code: 'closed' });
  assert.equal(page.socket.isClosed, true);
});
