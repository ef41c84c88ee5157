import assert from 'node:assert/strict';
import test from 'node:test';

import { accepted } from './frames.js';
import { MAX_DELAY_MS, Page, passTime } from './page.js';

test('close fails open turns and stays closed', async () => {
  const page = await Page.open();
  page.send('a');
  page.send('b');
  await page.say(accepted('m1', 't1'));
  page.client.close();
  page.client.close();
  page.send('c');
  assert.deepEqual(page.turns.map((turn) => turn.error.code), ['closed', 'closed', 'closed']);
  await page.goOnline();
  await page.wake();
  await passTime(MAX_DELAY_MS);
  assert.equal(page.sockets.length, 1);
  assert(page.sockets[0].isClosed);
  assert.equal(page.heard('state').at(-1).state, 'closed');
});

test('close while waiting ends the wait', async () => {
  const page = await Page.open();
  await page.socket.drop();
  page.client.close();
  await passTime(MAX_DELAY_MS);
  assert.equal(page.sockets.length, 1);
});

test('close in a handler of state is final', async () => {
  const page = await Page.open();
  page.client.on('state', ({ state }) => state === 'waiting' && page.client.close());
  await page.dropAndWait();
  assert.equal(page.sockets.length, 1);
});
