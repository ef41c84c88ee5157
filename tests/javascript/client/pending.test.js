import assert from 'node:assert/strict';
import test from 'node:test';

import { failure, final, userMessage, welcome } from './frames.js';
import { Page } from './page.js';

const ASKED = { call_id: 'c1', turn_id: 't1', tool_name: 'pay', arguments: { euros: 5 }, expires_at: '2026-11-29T12:00:00Z' };
const LIVE = { ...ASKED, expires_at: null };

const call = (offset, fields = {}) => ({
  type: 'tool_call', call_id: 'c1', tool_name: 'pay', arguments: { euros: 5 }, requires_approval: true, turn_id: 't1', offset, ...fields,
});
const resolved = (offset, turnId = 't2') => ({ type: 'pending_resolved', call_id: 'c1', turn_id: turnId, offset });
const ids = (page) => page.client.pending.map((request) => request.call_id);

/** A page that was told of one request. */
const opened = async () => {
  const page = await Page.connect();
  await page.say(welcome({ offset: 5, after: 5, pending: [ASKED] }));
  return page;
};

test('welcome tells what waits, also after a reload', async () => {
  const page = await opened();
  assert.deepEqual(page.client.pending, [ASKED]);
});

test('a gateway without such a list has nothing that waits', async () => {
  const page = await Page.connect();
  await page.say(welcome({ pending: undefined }));
  assert.deepEqual(page.client.pending, []);
});

test('a request that comes while the page looks on waits as well', async () => {
  const page = await Page.open();
  const lists = [];
  page.client.on('pending', (list) => lists.push(list));
  await page.say(userMessage(1), call(2), final(3, { finish_reason: 'interrupt' }));
  assert.deepEqual(lists, [[LIVE]]);
  assert.equal(page.heard('event').length, 1);
});

test('a request about another call is shown with that call', async () => {
  const page = await Page.open();
  const { tool_name, arguments: given } = LIVE;
  await page.say(userMessage(1), call(2, { tool_name: 'tool_call', arguments: {}, tool_call: { tool_name, arguments: given } }));
  assert.deepEqual(page.client.pending, [LIVE]);
});

test('frames that the welcome knows of change nothing', async () => {
  const page = await Page.connect();
  await page.say(welcome({ offset: 3, after: 0, pending: [] }), userMessage(1), call(2), final(3));
  assert.deepEqual(page.client.pending, []);
});

test('the same request again replaces the first', async () => {
  const page = await Page.open();
  await page.say(userMessage(1), call(2), call(3, { arguments: { euros: 6 } }));
  assert.deepEqual(page.client.pending, [{ ...LIVE, arguments: { euros: 6 } }]);
});

test('an answer of any client resolves it', async () => {
  const page = await opened();
  await page.say(userMessage(6, { turn_id: 't2' }), resolved(7));
  assert.deepEqual(page.client.pending, []);
  assert.equal(page.heard('pending_resolved')[0].call_id, 'c1');
  assert.equal(page.heard('event').length, 0);
});

test('a result that the agent tells settles it', async () => {
  const page = await opened();
  await page.say(userMessage(6, { turn_id: 't2' }), { type: 'tool_result', call_id: 'c1', result: 1, turn_id: 't2', offset: 7 });
  assert.deepEqual(page.client.pending, []);
});

for (const [code, left] of [['upstream_unavailable', ['c1']], ['upstream_eof', []]]) {
  test(`after an answer that ended in ${code} there waits: ${left}`, async () => {
    const page = await opened();
    await page.say(userMessage(6, { turn_id: 't2' }), resolved(7), failure(8, { turn_id: 't2', code }));
    assert.deepEqual(ids(page), left);
  });
}

test('answer sends a decision, once', async () => {
  const page = await opened();
  const turn = page.client.answer('c1', 'reject', { reason: 'no' });
  const [sent] = page.socket.sent;
  assert.deepEqual(sent, {
    type: 'hitl_decision', call_id: 'c1', decision: 'reject', reason: 'no', client_message_id: turn.clientMessageId,
  });
  await page.say({ type: 'error', code: 'already_decided', content: 'Too late.', client_message_id: turn.clientMessageId });
  await assert.rejects(turn.done, { code: 'already_decided' });
});
