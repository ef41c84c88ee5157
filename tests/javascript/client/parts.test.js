import assert from 'node:assert/strict';
import test from 'node:test';

import { readTurn, withSettled } from '../implementation.js';
import { final, snapshot, token, userMessage, welcome } from './frames.js';
import { Page } from './page.js';

const event = (offset, type, fields = {}) => ({ type, turn_id: 't1', offset, ...fields });
const call = { call_id: 'c', tool_name: 'clock', arguments: { zone: 'UTC' } };
const tool = { type: 'tool', callId: 'c', toolName: 'clock', input: { zone: 'UTC' }, question: null, output: null, error: null };
const pay = { call_id: 'i', tool_name: 'confirm', arguments: {}, requires_approval: true };

/** The parts of a turn after these frames. */
async function partsAfter(...frames) {
  const page = await Page.open();
  const turn = page.send('hi');
  await page.say(userMessage(1, { client_message_id: 'm1' }), ...frames);
  return turn.parts;
}

test('text, reasoning, calls, notices and other events stand in their order', async () => {
  const switched = event(7, 'agent_switched', { agent: 'b' });
  const parts = await partsAfter(
    event(2, 'reasoning', { token: 'h' }), event(3, 'reasoning', { token: 'm' }),
    token(4, 'a'), token(5, 'b'),
    event(6, 'tool_call', call), switched, event(8, 'notice', { code: 'x', content: 'Left out.' }),
    event(9, 'message_start', { message_id: 'm2' }), token(10, 'c'), final(11),
  );
  assert.deepEqual(parts, [
    { type: 'reasoning', text: 'hm' },
    { type: 'text', text: 'ab' },
    { ...tool, state: 'running' },
    { type: 'event', event: switched },
    { type: 'notice', code: 'x', text: 'Left out.' },
    { type: 'text', text: 'c' },
  ]);
});

test('a change makes another list, and keeps the parts that it does not concern', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  await page.say(userMessage(1, { client_message_id: 'm1' }), event(2, 'tool_call', call), token(3, 'a'));
  const [before, [first, second]] = [turn.parts, turn.parts];
  await page.say(token(4, 'b'));
  assert.notEqual(turn.parts, before);
  assert.equal(turn.parts[0], first);
  assert.deepEqual(second, { type: 'text', text: 'a' });
  await page.say(token(5, ''), event(6, 'message_start'));
  assert.deepEqual(turn.parts, [first, { type: 'text', text: 'ab' }]);
});

for (const [result, fields] of [
  [{ result: { hour: 9 } }, { state: 'done', output: { hour: 9 } }],
  [{ error: 'No.' }, { state: 'failed', error: 'No.' }],
]) {
  test(`a result is its call's: ${fields.state}`, async () => {
    const parts = await partsAfter(event(2, 'tool_call', call), token(3, 'a'), event(4, 'tool_result', { call_id: 'c', ...result }));
    assert.deepEqual(parts, [{ ...tool, ...fields }, { type: 'text', text: 'a' }]);
  });
}

test('a result without a call, and a call without an id, are events', async () => {
  const frames = [event(2, 'tool_result', { call_id: 'x', result: 1 }), event(3, 'tool_call', { tool_name: 'clock' })];
  assert.deepEqual(await partsAfter(...frames), frames.map((frame) => ({ type: 'event', event: frame })));
});

test('a question is a call that asks', async () => {
  const [asking] = await partsAfter(event(2, 'tool_call', { ...call, requires_approval: true }));
  assert.deepEqual(asking, { ...tool, state: 'asking', question: 'c' });
});

test('a question about another call is that call\'s, whether it came before or not', async () => {
  const asked = { ...tool, state: 'asking', question: 'i' };
  assert.deepEqual(await partsAfter(event(2, 'tool_call', call), event(3, 'tool_call', { ...pay, tool_call: call })), [asked]);
  assert.deepEqual(await partsAfter(event(2, 'tool_call', { ...pay, tool_call: call })), [asked]);
});

test('another turn\'s answer and result settle a question', async () => {
  const parts = await partsAfter(event(2, 'tool_call', pay));
  const resolved = withSettled(parts, { type: 'pending_resolved', call_id: 'i' });
  assert.deepEqual([resolved[0].state, resolved[0].question], ['running', null]);
  assert.equal(withSettled(resolved, { type: 'tool_result', call_id: 'i', result: 1 })[0].state, 'done');
  assert.equal(withSettled(parts, { type: 'tool_result', call_id: 'x', result: 1 }), parts);
  assert.equal(withSettled(parts, { type: 'tool_result', result: 1 }), parts);
});

test('a snapshot adds what is missing of the text', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, 'Par'), event(3, 'tool_call', call));
  await page.dropAndWait();
  await page.say(welcome({ after: null, recovered: false, offset: 9 }), snapshot(9, 'Paris.'));
  assert.deepEqual(turn.parts, [{ type: 'text', text: 'Par' }, { ...tool, state: 'running' }, { type: 'text', text: 'is.' }]);
});

test('an ended turn of the history is read as a turn would be', () => {
  const ended = {
    turn_id: 't1', message: 'Capital?', answer: '🙂🙂Paris', finish_reason: 'error', error: { code: 'upstream_eof', content: 'Cut.' },
    events: [
      { position: 0, event: { type: 'reasoning', token: 'hm' } },
      { position: 2, event: { type: 'tool_call', ...call } },
      { position: 2, event: { type: 'tool_result', call_id: 'c', result: 1 } },
    ],
  };
  const { error, ...turn } = readTurn(ended);
  assert.deepEqual(turn, {
    id: 't1', question: 'Capital?', text: '🙂🙂Paris', finishReason: 'error',
    parts: [
      { type: 'reasoning', text: 'hm' },
      { type: 'text', text: '🙂🙂' },
      { ...tool, state: 'done', output: 1 },
      { type: 'text', text: 'Paris' },
    ],
  });
  assert.deepEqual([error.code, error.message], ['upstream_eof', 'Cut.']);
});

for (const [message, question] of [
  ['{"type":"tool_result","result":1}', null],
  ['{"type":"user_message"}', '{"type":"user_message"}'],
  ['{"a":1}', '{"a":1}'],
  ['null', 'null'],
  ['', ''],
]) {
  test(`the kept message ${message} was written by ${question === null ? 'no' : 'a'} person`, () => {
    assert.equal(readTurn({ message, answer: '', events: [], error: null }).question, question);
  });
}
