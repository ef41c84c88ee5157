import assert from 'node:assert/strict';
import test from 'node:test';

import { ping, userMessage } from './frames.js';
import { Page, SILENCE_LIMIT_MS, passTime, sleep } from './page.js';

test('a silent connection is left after two and a half heartbeats', async () => {
  const page = await Page.open();
  await passTime(SILENCE_LIMIT_MS - 1);
  assert.equal(page.state.state, 'open');
  await passTime(1);
  assert.equal(page.heard('state').find(({ state }) => state === 'waiting').code, 'line_dead');
  assert.equal(page.sockets.length, 2);
});

test('any frame shows that the connection lives', async () => {
  const page = await Page.open();
  for (let count = 0; count < 3; count++) {
    await passTime(SILENCE_LIMIT_MS - 1);
    await page.say(ping(0));
  }
  assert.equal(page.sockets.length, 1);
});

test('a connection that died while the machine slept is left when the page is seen', async () => {
  const page = await Page.open();
  sleep(SILENCE_LIMIT_MS);
  assert.equal(page.state.state, 'open');
  await page.changeVisibility({ hidden: false });
  assert.equal(page.state.code, 'line_dead');
});

test('a welcome without a heartbeat sets no limit', async () => {
  const page = await Page.open({ heartbeat_seconds: 0 });
  await passTime(10 * SILENCE_LIMIT_MS);
  assert.equal(page.state.state, 'open');
});

for (const frame of [ping(3), ping(1, 'E2')]) {
  test(`a ping of ${frame.epoch} at ${frame.offset}, ahead of what was seen, reconnects`, async () => {
    const page = await Page.open();
    await page.say(userMessage(1), ping(1));
    assert.equal(page.state.state, 'open');
    await page.say(frame);
    await passTime(0);
    assert.deepEqual(page.socket.query, { coalesce: '1', epoch: 'E1', offset: '1' });
  });
}
