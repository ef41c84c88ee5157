import assert from 'node:assert/strict';
import test from 'node:test';

import { accepted, cancelAck, disconnect, failure, final, running, snapshot, token, userMessage, welcome } from './frames.js';
import { CONNECT_LIMIT_MS, MAX_DELAY_MS, Page, SILENCE_LIMIT_MS, fixRandom, passTime, sleep } from './page.js';
import { Rest } from './rest.js';

const SESSION = '/api/v1/sessions/s1';
const EVENTS = `GET ${SESSION}/events?coalesce=1`;
const TEN_MINUTES_MS = 600_000;

/** A page for which two sockets could not be opened, and its requests since. */
async function blocked(options) {
  const rest = new Rest();
  const page = await Page.connect(options);
  await page.dropAndWait();
  await page.dropAndWait();
  return { page, rest };
}

/** One that was welcomed over HTTP. */
async function overHttp(welcomeFields = {}, options) {
  const { page, rest } = await blocked(options);
  const stream = rest.newest;
  await stream.open();
  await stream.say(welcome(welcomeFields));
  return { page, rest, stream };
}

test('after two sockets that could not be opened the log comes as an event stream', async () => {
  const { page, rest, stream } = await overHttp();
  assert.equal(page.sockets.length, 2);
  assert.deepEqual(rest.paths, [EVENTS]);
  assert.equal(stream.headers.Accept, 'text/event-stream');
  assert.deepEqual(page.state, { state: 'open', isOverHttp: true });
  await stream.say(userMessage(1));
  await stream.say(token(2, 'Par'));
  await stream.write(`id: E1:3\ndata: ${JSON.stringify(token(3, 'ïs')).slice(0, 40)}`);
  await stream.write(`${JSON.stringify(token(3, 'ïs')).slice(40)}\n\n`);
  await stream.say(final(4));
  assert.equal(page.heard('final').length, 1);
  assert.deepEqual(page.heard('token').map((frame) => frame.token), ['Par', 'ïs']);
  assert.deepEqual(page.client.cursor, { epoch: 'E1', offset: 4 });
});

test('one socket that could not be opened is followed by another', async () => {
  const rest = new Rest();
  const page = await Page.connect();
  await page.dropAndWait();
  assert.equal(page.sockets.length, 2);
  await page.say(welcome());
  await page.dropAndWait();
  await page.dropAndWait();
  assert.equal(page.sockets.length, 4); // the one that was open counts for nothing
  assert.deepEqual(rest.asked, []);
});

test('a handshake that hangs could not be opened either', async () => {
  const rest = new Rest();
  await Page.connect();
  fixRandom(0);
  await passTime(CONNECT_LIMIT_MS);
  await passTime(CONNECT_LIMIT_MS + 1);
  assert.deepEqual(rest.paths, [EVENTS]);
});

test('a socket that was opened and refused, or a ticket that does not come, is no reason for HTTP', async () => {
  const rest = new Rest();
  const page = await Page.connect({ ticket: () => { throw new Error('no ticket'); } });
  for (let count = 0; count < 3; count++) await passTime(MAX_DELAY_MS);
  const refused = await Page.connect();
  for (let count = 0; count < 3; count++) {
    await refused.say(disconnect('rate_limited', { reconnect: true, delay_ms: 0 }));
    await passTime(MAX_DELAY_MS);
  }
  assert.equal(page.sockets.length, 0);
  assert.deepEqual(rest.asked, []);
});

test('only sockets in a row count: one that was opened and refused is between', async () => {
  const rest = new Rest();
  const page = await Page.connect();
  await page.dropAndWait();
  await page.say(disconnect('rate_limited', { reconnect: true, delay_ms: 0 }));
  await passTime(MAX_DELAY_MS);
  await page.dropAndWait();
  assert.equal(page.sockets.length, 4);
  assert.deepEqual(rest.asked, []);
});

test('a ticket that hangs is no socket that could not be opened', async () => {
  let count = 0;
  const page = await Page.connect({ ticket: () => ((count += 1) > 2 ? 'x' : new Promise(() => {})) });
  fixRandom(0);
  await passTime(2 * CONNECT_LIMIT_MS + 5);
  assert.deepEqual([count, page.sockets.length], [3, 1]);
});

for (const [reason, options] of [['the page forbids it', { http: false }], ['the address is no session', { url: '/chat' }]]) {
  test(`without HTTP where ${reason}`, async () => {
    const { page, rest } = await blocked(options);
    await page.dropAndWait();
    assert.equal(page.sockets.length, 4);
    assert.deepEqual(rest.asked, []);
  });
}

test('the address of REST is beside the socket\'s', async () => {
  const { rest } = await blocked({ url: 'wss://chat.example/prefix/ws/a%3Ab/?tenant=1' });
  assert.equal(rest.newest.url.href, 'https://chat.example/prefix/api/v1/sessions/a%3Ab/events?tenant=1&coalesce=1');
});

test('each request has a ticket of its own; without tickets the cookies are the credential', async () => {
  let count = 0;
  const { page, rest } = await overHttp({}, { ticket: async () => `t${(count += 1)}` });
  page.send('hi');
  await passTime(0);
  const shown = rest.asked.map(({ headers, options }) => [headers.Authorization, options.credentials]);
  assert.deepEqual(shown, [['Bearer t3', 'same-origin'], ['Bearer t4', 'same-origin']]);
  const { rest: open } = await blocked();
  assert.deepEqual([open.newest.headers.Authorization, open.newest.options.credentials], [undefined, 'include']);
});

// Messages.

test('messages are sent one after another, and accepted', async () => {
  const { page, rest } = await overHttp();
  page.send('one', { onBusy: 'interrupt' });
  page.send('two');
  await passTime(0);
  assert.deepEqual(rest.paths, [EVENTS, `POST ${SESSION}/messages?coalesce=1`]);
  assert.deepEqual(rest.newest.body, { type: 'user_message', content: 'one', client_message_id: 'm1', on_busy: 'interrupt' });
  await rest.newest.answer(202, accepted('m1', 't1'));
  assert.equal(page.turns[0].id, 't1');
  assert.equal(rest.newest.body.content, 'two');
});

test('a refusal refuses its message', async () => {
  const { page, rest } = await overHttp();
  const turn = page.send('x');
  await passTime(0);
  await rest.newest.answer(429, failure(undefined, { code: 'rate_limited', turn_id: undefined, retry_after_ms: 1000 }));
  assert.deepEqual([turn.status, turn.error.code, turn.error.retryAfterMs], ['ended', 'rate_limited', 1000]);
});

test('a message that may not have arrived is sent again over the next connection, under its id', async () => {
  const { page, rest } = await overHttp();
  const turn = page.send('x');
  await passTime(0);
  await rest.newest.answer(502, '');
  assert.equal(page.state.state, 'waiting');
  await passTime(MAX_DELAY_MS);
  assert.equal(page.sockets.length, 3);
  await page.say(welcome({ recovered: true }));
  assert.deepEqual(page.sentIds, ['m1']);
  await page.say(accepted('m1', 't1', { duplicate: true }));
  assert.equal(turn.id, 't1');
});

test('a message without an answer ends the connection', async () => {
  const { page } = await overHttp({ heartbeat_seconds: 60 });
  page.send('x');
  await passTime(0);
  await passTime(20_000);
  assert(page.heard('state').slice(-2).some(({ code }) => code === 'line_lost'));
});

test('a stop is a request, with the turn it names', async () => {
  const { page, rest, stream } = await overHttp({ active: running('t1') });
  await stream.say(userMessage(1));
  page.client.cancel();
  await passTime(0);
  assert.equal(rest.newest.path, `POST ${SESSION}/cancel?coalesce=1`);
  assert.deepEqual(rest.newest.body, { turn_id: 't1' });
  await rest.newest.answer(200, { turn_id: 't1', status: 'cancelling' });
  assert.deepEqual(page.heard('cancel_ack').map(({ kind, ...frame }) => frame), [cancelAck('t1', 'cancelling')]);
});

test('the history is a request, which no message waits for', async () => {
  const { page, rest } = await overHttp({ history: true });
  const reading = page.client.history({ before: 'c', limit: 7 });
  page.send('x');
  await passTime(0);
  const [, history, message] = rest.asked;
  assert.equal(history.path, `GET ${SESSION}/turns?coalesce=1&before=c&limit=7`);
  assert.equal(message.body.content, 'x');
  await history.answer(200, { turns: [], next: null, incomplete: false });
  assert.deepEqual(await reading, { turns: [], next: null, incomplete: false });
});

// The stream's end.

test('a stream that ends is followed by a socket, and if that fails by a stream from the cursor on', async () => {
  const { page, rest, stream } = await overHttp();
  await stream.say(userMessage(1));
  await stream.end();
  await passTime(MAX_DELAY_MS);
  assert.equal(page.sockets.length, 3);
  await page.dropAndWait();
  assert.equal(page.sockets.length, 3);
  assert.deepEqual(rest.paths, [EVENTS, EVENTS]);
  assert.equal(rest.newest.headers['Last-Event-ID'], 'E1:1');
});

test('a cursor of the page itself is kept', async () => {
  const { rest } = await blocked({ cursor: { offset: 0 } });
  assert.equal(rest.newest.headers['Last-Event-ID'], ':0');
});

test('a snapshot takes the place of frames that are gone', async () => {
  const { page, stream } = await overHttp({ after: null, offset: 9, active: running('t1') });
  await stream.say(snapshot(9, 'Paris is'));
  await stream.say(token(10, ' the'));
  assert.deepEqual(page.heard('snapshot', 'token').map(({ kind }) => kind), ['snapshot', 'token']);
  assert.deepEqual(page.client.cursor, { epoch: 'E1', offset: 10 });
});

test('comments keep the connection alive, silence ends it', async () => {
  const { page, stream } = await overHttp();
  for (let count = 0; count < 5; count++) {
    await passTime(SILENCE_LIMIT_MS - 1);
    await stream.write(': \n\n');
  }
  assert.equal(page.state.state, 'open');
  await passTime(SILENCE_LIMIT_MS);
  assert(page.heard('state').slice(-2).some(({ code }) => code === 'line_dead'));
  assert(stream.isLeft);
});

test('a comment at the log\'s end tells that the rest of an answer is gone', async () => {
  const { page, rest } = await overHttp();
  const turn = page.send('x');
  await passTime(0);
  await rest.newest.answer(202, accepted('m1', 't1', { status: 'ended', duplicate: true }));
  await rest.asked[0].write(': \n\n');
  assert.equal(turn.error.code, 'replay_gap');
});

test('a comment before what the log held at first tells nothing', async () => {
  const { page, rest } = await overHttp({ offset: 3 });
  const turn = page.send('x');
  await passTime(0);
  await rest.newest.answer(202, accepted('m1', 't1', { status: 'ended', duplicate: true }));
  await rest.asked[0].write(': \n\n');
  assert.equal(turn.error, null);
});

test('the server\'s disconnect counts as over a socket', async () => {
  const { page, stream } = await overHttp();
  await stream.write(`id: closed\ndata: ${JSON.stringify(disconnect('session_deleted', { reconnect: false }))}\n\n`);
  assert.deepEqual([page.state.state, page.state.code], ['closed', 'session_deleted']);
});

for (const [status, code] of [[401, 'unauthorized'], [403, 'forbidden'], [204, 'closed']]) {
  test(`a stream refused with ${status} is final where HTTP has worked, as ${code}`, async () => {
    const { page, rest, stream } = await overHttp();
    await stream.end();
    await passTime(MAX_DELAY_MS);
    await page.dropAndWait();
    await rest.newest.answer(status, { detail: 'no' });
    assert.deepEqual([page.state.state, page.state.code], ['closed', code]);
  });

  test(`a stream refused with ${status} at first is followed by a socket, and if that fails it is final, too`, async () => {
    const { page, rest } = await blocked();
    await rest.newest.answer(status, { detail: 'no' });
    assert.deepEqual([page.state.state, page.state.code], ['waiting', code]);
    await passTime(MAX_DELAY_MS);
    assert.equal(page.sockets.length, 3);
    await page.dropAndWait();
    await rest.newest.answer(status, { detail: 'no' });
    assert.deepEqual([page.state.state, page.state.code], ['closed', code]);
  });
}

test('a policy that admits sockets and no HTTP ends no page whose sockets open again', async () => {
  const { page, rest } = await blocked();
  for (let times = 0; times < 2; times++) {
    await rest.newest.answer(401, { detail: 'no' });
    await passTime(MAX_DELAY_MS);
    await page.say(welcome());
    assert.deepEqual(page.state, { state: 'open' });
    await page.dropAndWait();
    await page.dropAndWait();
    await page.dropAndWait();
  }
  assert.equal(rest.asked.length, 3);
});

test('a credential that ends ends the connection with it', async () => {
  const { page, rest } = await overHttp();
  page.send('x');
  await passTime(0);
  await rest.newest.answer(401, { detail: 'unauthorized' });
  assert.deepEqual([page.state.state, page.state.code], ['closed', 'unauthorized']);
});

test('after ten minutes an idle page tries a socket again', async () => {
  const { page, rest, stream } = await overHttp();
  await stream.say(userMessage(1));
  sleep(TEN_MINUTES_MS);
  await stream.write(': \n\n');
  assert.equal(page.state.state, 'open'); // a turn runs
  await stream.say(final(2));
  await stream.write(': \n\n');
  await passTime(0);
  assert.equal(page.sockets.length, 3);
  await page.say(welcome({ recovered: true, offset: 2, after: 2 }));
  assert.deepEqual(page.state, { state: 'open' });
  assert.deepEqual(rest.paths, [EVENTS]);
});

test('close leaves the stream', async () => {
  const { page, stream } = await overHttp();
  page.client.close();
  assert(stream.isLeft);
  assert.equal(page.state.state, 'closed');
});
