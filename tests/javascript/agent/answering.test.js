import assert from 'node:assert/strict';
import test from 'node:test';

import { agent, AgentError } from '../../../sdk/javascript/index.js';

const NAMES = { 'X-Internal-Auth': 'key', 'Idempotency-Key': 't1', 'X-Subject': 'ada' };

const post = (options = {}) =>
  new Request('http://agent/', { method: 'POST', headers: NAMES, body: '{"session_id":"s","content":"hi"}', ...options });

const eventsOf = (text) => text.split('\n\n').filter((part) => part.startsWith('data: ')).map((part) => JSON.parse(part.slice(6)));

const never = () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) });

/** Rejects when the signal is aborted, as `fetch` does. */
const untilAborted = (signal) =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

test('a handler answers a request with events', async () => {
  let asked;
  const handler = agent({ keys: ['key'] }, async function* (message, session) {
    asked = { message, ...session };
    yield 'Hello';
    yield { type: 'note' };
  });
  const response = await handler(post());
  assert.equal(response.headers.get('content-type'), 'text/event-stream');
  assert.deepEqual(eventsOf(await response.text()), [
    { type: 'assistant_message', token: 'Hello', is_final: false },
    { type: 'note' },
    { type: 'assistant_message', token: '', is_final: true },
  ]);
  assert.deepEqual(asked.message, { session_id: 's', content: 'hi' });
  assert.deepEqual([asked.sessionId, asked.turnId, asked.subject], ['s', 't1', 'ada']);
});

test('what is yielded from any iterable is an answer', async () => {
  const handler = agent({ keys: ['key'] }, () => ['a', 'b']);
  assert.equal(eventsOf(await (await handler(post())).text()).length, 3);
});

for (const [name, answer] of Object.entries({
  'that throws at once': () => {
    throw new Error('a secret detail');
  },
  'that is no iterable': () => 7,
  'that yields null': async function* () {
    yield null;
  },
  'that yields an object in a circle': async function* () {
    const circle = { type: 'odd' };
    yield Object.assign(circle, { circle });
  },
})) {
  test(`an answer ${name} is an error, which is logged`, async (t) => {
    const log = t.mock.method(console, 'error', () => {});
    const [error, ...others] = eventsOf(await (await agent({ keys: ['key'] }, answer)(post())).text());
    assert.deepEqual([error, others], [{ type: 'error', content: 'The agent could not answer. Try again.' }, []]);
    assert.equal(log.mock.callCount(), 1);
  });
}

test('the message of an AgentError is sent, and not logged', async (t) => {
  const log = t.mock.method(console, 'error', () => {});
  const handler = agent({ keys: ['key'] }, async function* () {
    yield 'Half';
    throw new AgentError('The model is asleep.');
  });
  const [, error] = eventsOf(await (await handler(post())).text());
  assert.deepEqual(error, { type: 'error', content: 'The model is asleep.' });
  assert.equal(log.mock.callCount(), 0);
});

for (const way of ['cancels the body', 'aborts its request']) {
  test(`a client that ${way} aborts the signal, and the answer ends`, async () => {
    const client = new AbortController();
    const ended = deferred();
    const handler = agent({ keys: ['key'] }, async function* (message, session) {
      try {
        yield 'Waiting';
        await untilAborted(session.signal);
      } finally {
        ended.resolve(session.signal.aborted);
      }
    });
    const response = await handler(post({ signal: client.signal }));
    const reader = response.body.getReader();
    await reader.read();
    if (way === 'cancels the body') await reader.cancel();
    else client.abort();
    assert.equal(await ended.promise, true);
  });
}

test('an answer that looks at no signal ends where it yields', async () => {
  const ended = deferred();
  const goOn = deferred();
  const handler = agent({ keys: ['key'] }, async function* () {
    try {
      yield 'Waiting';
      await goOn.promise;
      yield 'not sent';
      yield 'nor this';
    } finally {
      ended.resolve();
    }
  });
  const reader = (await handler(post())).body.getReader();
  await reader.read();
  await reader.cancel();
  goOn.resolve();
  await ended.promise;
});

test('a client that does not read is not answered faster than it reads', async () => {
  let yielded = 0;
  const handler = agent({ keys: ['key'], keepAliveSeconds: 0.001 }, async function* () {
    for (; yielded < 1000; yielded += 1) yield 'more';
  });
  const reader = (await handler(post())).body.getReader();
  for (let read = 0; read < 5; read += 1) await reader.read();
  for (let round = 0; round < 100; round += 1) await new Promise(setImmediate);
  assert.ok(yielded < 10, `${yielded} of five were yielded`);
  await reader.cancel();
});

test('comments are sent while nothing is yielded', async () => {
  const handler = agent({ keys: ['key'], keepAliveSeconds: 0.001 }, async function* (message, session) {
    await untilAborted(session.signal);
  });
  const reader = (await handler(post())).body.getReader();
  for (let comment = 0; comment < 3; comment += 1) {
    assert.equal(new TextDecoder().decode((await reader.read()).value), ': still there\n\n');
  }
  await reader.cancel();
});

test('comments do not gather before a client that does not read', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const handler = agent({ keys: ['key'] }, never);
  const reader = (await handler(post())).body.getReader();
  for (let round = 0; round < 10; round += 1) t.mock.timers.tick(15_000);
  await reader.read();
  const second = reader.read().then(() => assert.fail('a second comment was kept'));
  await Promise.race([second, new Promise(setImmediate)]);
});

for (const [status, options] of [
  [405, { method: 'GET', body: undefined }],
  [401, { headers: {} }],
  [401, { headers: { 'X-Internal-Auth': 'another' } }],
  [400, { body: '' }],
  [400, { body: '[]' }],
  [400, { body: 'null' }],
  [400, { body: '{"content":"hi"}' }],
  [400, { signal: AbortSignal.abort() }],
]) {
  test(`a request is refused with ${status}: ${JSON.stringify(options)}`, async () => {
    const response = await agent({ keys: ['key'] }, assert.fail)(post(options));
    assert.equal(response.status, status);
    assert.equal(response.headers.get('allow'), 'POST');
    assert.equal(typeof (await response.json()).error, 'string');
  });
}

for (const keys of [[], [''], ['key', undefined]]) {
  test(`an agent is not made with the keys ${JSON.stringify(keys)}`, () => {
    assert.throws(() => agent({ keys }, assert.fail), /INTERNAL_API_KEY/);
  });
}

function deferred() {
  let resolve;
  const promise = new Promise((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
