import assert from 'node:assert/strict';
import test from 'node:test';

import { token, userMessage, welcome } from './frames.js';
import { Page, passTime } from './page.js';

const TURN = { turn_id: 't0', message: 'q', answer: 'a' };
const PAGE = { turns: [TURN], next: 'n1', incomplete: false };
const historyOf = (request, page = PAGE) => ({ type: 'history', client_message_id: request.client_message_id, ...page });
const open = (fields) => Page.open({ history: true, ...fields });

test('history asks for a page and gives it', async () => {
  const page = await open();
  const reading = page.client.history({ before: 'n0', limit: 10 });
  const [request] = page.socket.sent;
  assert.deepEqual([request.type, request.before, request.limit], ['history', 'n0', 10]);
  await page.say(historyOf(request));
  assert.deepEqual(await reading, PAGE);
});

test('history asks for the newest fifty by default', async () => {
  const page = await open();
  page.client.history();
  page.client.history({ before: null });
  assert.deepEqual(page.socket.sent.map(({ before, limit }) => [before, limit]), [['', 50], ['', 50]]);
});

test('two pages are told apart', async () => {
  const page = await open();
  const readings = [page.client.history(), page.client.history({ before: 'n1' })];
  const [first, second] = page.socket.sent;
  await page.say(historyOf(second, { ...PAGE, next: null }), historyOf(first));
  assert.deepEqual((await Promise.all(readings)).map(({ next }) => next), ['n1', null]);
});

test('history waits for the connection, and is asked again over the next one', async () => {
  const page = await Page.connect();
  const reading = page.client.history();
  await page.say(welcome({ history: true }));
  assert.equal(page.socket.sent.length, 1);
  await page.socket.drop();
  await page.reconnect({ history: true });
  await page.say(historyOf(page.socket.sent[0]));
  assert.deepEqual(await reading, PAGE);
  await page.socket.drop();
  await page.reconnect({ history: true });
  assert.deepEqual(page.socket.sent, [], 'once it is answered it is not asked again');
});

test('history fails when it is refused', async () => {
  const page = await open();
  const reading = page.client.history();
  const { client_message_id } = page.socket.sent[0];
  await page.say({ type: 'error', code: 'rate_limited', content: 'Too many.', retry_after_ms: 5, client_message_id });
  await assert.rejects(reading, { code: 'rate_limited', retryAfterMs: 5 });
  assert.deepEqual(page.heard('refused'), []);
});

test('history fails when the client is closed, and after that', async () => {
  const page = await open();
  const reading = page.client.history();
  page.client.close();
  await assert.rejects(reading, { code: 'closed' });
  await assert.rejects(page.client.history(), { code: 'closed' });
});

test('history fails before a gateway that has none', async () => {
  const page = await Page.open();
  await assert.rejects(page.client.history(), { code: 'bad_request' });
});

test('history wakes a client that sleeps', async () => {
  const page = await open();
  await page.socket.drop(4408);
  assert.equal(page.state.delayMs, null);
  const reading = page.client.history();
  await passTime(0);
  await page.say(welcome({ history: true }));
  await page.say(historyOf(page.socket.sent[0]));
  assert.deepEqual(await reading, PAGE);
});

test('an event of that name in the log is the agent\'s', async () => {
  const page = await open();
  await page.say(userMessage(1), { type: 'history', x: 1, turn_id: 't1', offset: 2 }, token(3, 'a'));
  assert.deepEqual(page.heard('event').map(({ x }) => x), [1]);
});
