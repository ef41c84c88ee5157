import assert from 'node:assert/strict';
import test from 'node:test';

import { failure, final, token, userMessage } from './frames.js';
import { Page } from './page.js';

/** Put every text of a turn into a list, as it comes; give the list, and a promise of its end. */
function read(turn) {
  const texts = [];
  const reading = (async () => {
    for await (const text of turn) texts.push(text);
  })();
  return { texts, reading };
}

test('the iterator gives the whole text so far', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  const { texts, reading } = read(turn);
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, ''));
  await page.say(token(3, 'a'));
  await page.say(token(4, 'b'), token(5, 'c'));
  await page.say(final(6));
  await reading;
  assert.deepEqual(texts, ['a', 'abc']);
  assert.equal(await turn.done, 'abc');
});

test('two iterators see the same', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  const readers = [read(turn), read(turn)];
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, 'a'));
  await page.say(token(3, 'b'), final(4));
  await Promise.all(readers.map(({ reading }) => reading));
  assert.deepEqual(readers.map(({ texts }) => texts), [['a', 'ab'], ['a', 'ab']]);
});

test('the iterator of a failed turn throws after its text', async () => {
  const page = await Page.open();
  const turn = page.send('hi');
  const interrupted = failure(3, { code: 'interrupted', retry_after_ms: 5 });
  await page.say(userMessage(1, { client_message_id: 'm1' }), token(2, 'a'), interrupted);
  const { texts, reading } = read(turn);
  await assert.rejects(reading, { code: 'interrupted' });
  assert.deepEqual(texts, ['a']);
  assert.deepEqual(page.heard('error').map((event) => event.code), ['interrupted']);
});

test('a failed turn that no code looks at raises nothing', async (t) => {
  const unhandled = t.mock.fn();
  process.on('unhandledRejection', unhandled);
  t.after(() => process.off('unhandledRejection', unhandled));
  const page = await Page.open();
  const turn = page.send('hi');
  await page.say(userMessage(1, { client_message_id: 'm1' }), failure(2));
  assert.equal(turn.status, 'ended');
  assert.equal(unhandled.mock.callCount(), 0);
});
