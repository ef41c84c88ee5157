import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { Answer, ChunkTranslator, messageOf } from '../package/ui-message-chunks.js';

const examples = JSON.parse(readFileSync(new URL('chunks.json', import.meta.url), 'utf8'));
const TEXT = { type: 'text', text: 'Hel' };

for (const { name, options, frames, chunks } of examples) {
  test(`frames of ${name} become the chunks that the gateway writes`, () => {
    const translator = new ChunkTranslator(options);
    const made = frames.flatMap((frame) => translator.chunks(frame));
    assert.deepEqual(JSON.parse(JSON.stringify(made)), chunks);
  });
}

test('a snapshot in mid-answer gives the text that is missing', () => {
  const translator = new ChunkTranslator();
  const write = (...frames) => frames.flatMap((frame) => translator.chunks({ turn_id: 'T', ...frame }));
  write({ type: 'user_message' }, { type: 'assistant_message', token: 'He' }, { type: 'reasoning', token: 'hm' });
  const missing = { type: 'text-delta', id: 'T:2', delta: 'llo' };
  assert.deepEqual(write({ type: 'snapshot', content: 'Hello' }).at(-1), missing);
  assert.deepEqual(write({ type: 'snapshot', content: 'Hello' }), []);
});

test('an answer gives every reader all its chunks, neighbouring deltas joined for a late one', () => {
  const answer = new Answer('T', {});
  const read = () => {
    const [chunks, ends] = [[], []];
    const reader = { chunks, ends, write: (chunk) => chunks.push(chunk), end: (error) => ends.push(error) };
    answer.attach(reader);
    return reader;
  };
  const early = read();
  answer.write({ type: 'user_message', turn_id: 'T', content: 'Hi', client_message_id: 'm1' });
  for (const token of ['a', 'b']) answer.write({ type: 'assistant_message', turn_id: 'T', token });
  const late = read();
  answer.end(null);
  const textOf = ({ chunks }) => chunks.map(({ delta = '' }) => delta).filter(Boolean);
  assert.deepEqual([textOf(early), textOf(late), textOf(read())], [['a', 'b'], ['ab'], ['ab']]);
  assert.deepEqual([early.ends, late.ends], [[null], [null]]);
  assert.deepEqual(answer.question, { id: 'm1', role: 'user', parts: [{ type: 'text', text: 'Hi' }] });
});

test('an answer of which the first frames are gone knows its question from the snapshot', () => {
  const questionOf = (message) => {
    const answer = new Answer('T', {});
    answer.write({ type: 'snapshot', turn_id: 'T', content: 'all', user_message: message });
    return answer.question;
  };
  const asked = { type: 'user_message', content: 'Hi', client_message_id: 'm1' };
  assert.deepEqual(questionOf(asked), { id: 'm1', role: 'user', parts: [{ type: 'text', text: 'Hi' }] });
  for (const message of [null, undefined, { type: 'ui_message' }]) assert.equal(questionOf(message) ?? null, null);
});

test('a message is what the gateway reads from a POST', () => {
  const file = { type: 'file', url: 'data:,x' };
  const message = { id: 'm1', role: 'user', parts: [TEXT, file, { type: 'text', text: 'lo' }] };
  const extra = { trigger: 'submit-message', model: 'x', content: 'mine', onBusy: 'reject' };
  const sent = JSON.parse(JSON.stringify(messageOf(message, extra)));
  assert.deepEqual(sent, {
    type: 'user_message', content: 'Hello', clientMessageId: 'm1', parts: [file], trigger: 'submit-message', model: 'x',
  });
});

for (const [message, trigger, type] of [
  [{ role: 'user', parts: [TEXT] }, 'regenerate-message', 'regenerate-message'],
  [{ role: 'assistant', parts: [] }, 'submit-message', 'ui_message'],
]) {
  test(`a request of the kind ${type} is a message of that type`, () => {
    assert.deepEqual(JSON.parse(JSON.stringify(messageOf(message, { trigger }))), { type, trigger, message });
  });
}

const decided = (toolCallId, approval) => ({ type: 'dynamic-tool', toolCallId, state: 'approval-responded', approval });

for (const [name, parts, message] of [
  ['an approval', [decided('c1', { id: 'i1', approved: true })], { call_id: 'i1', decision: 'approve' }],
  ['a refusal', [decided('c1', { id: 'i1', approved: false, reason: 'no' })], { call_id: 'i1', decision: 'reject', reason: 'no' }],
  ['one of the last step', [decided('old', { id: 'old' }), { type: 'step-start' }, decided('c1', { id: 'i1', approved: true })],
    { call_id: 'i1', decision: 'approve' }],
]) {
  test(`${name} is a decision, if the page has approvals`, () => {
    const asked = { id: 't1', role: 'assistant', parts };
    const sent = JSON.parse(JSON.stringify(messageOf(asked, {}, true)));
    assert.deepEqual(sent, { type: 'hitl_decision', ui_message: { id: 't1', calls: ['c1'] }, ...message });
    assert.equal(messageOf(asked, {}).type, 'ui_message');
  });
}

test('two decisions are one message', () => {
  const parts = [decided('c1', { id: 'i1', approved: true }), decided('c2', { id: 'i2', approved: false })];
  const { decisions, ui_message } = messageOf({ id: 't1', role: 'assistant', parts }, {}, true);
  assert.deepEqual(decisions.map(({ decision }) => decision), ['approve', 'reject']);
  assert.deepEqual(ui_message.calls, ['c1', 'c2']);
});
