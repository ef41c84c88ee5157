// An agent by `relay-agent`, under Node's `http`: as it is, and behind a middleware that has read the body, as Express'.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';

import { agent, AgentError } from '../../../sdk/javascript/index.js';

function untilStopped(signal) {
  console.log('work started');
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => {
      console.log('work cancelled');
      reject(signal.reason);
    });
  });
}

const answers = {
  async *fail() {
    yield 'Half';
    throw new AgentError('The model is asleep.');
  },
  async *bug() {
    yield 'Half';
    throw new Error('a secret detail');
  },
  async *no_event() {
    yield 7;
  },
  async *no_json() {
    yield { type: 'odd', value: 7n };
  },
  async *wait(message, session) {
    yield 'Waiting';
    await untilStopped(session.signal);
  },
  async *go_on(message, session) {
    try {
      yield 'Waiting';
      await untilStopped(session.signal).catch(() => {});
      for (let number = 0; number < 1000; number += 1) yield String(number);
      throw new Error('went on to its end');
    } finally {
      console.log('went on and ended');
    }
  },
  async *last_event() {
    yield { type: 'assistant_message', token: 'Cut', is_final: true, finish_reason: 'length' };
  },
  async *hello(message, session) {
    yield `${session.sessionId} `;
    yield { type: 'tool_call', call_id: '1', tool_name: 'look_up', arguments: { city: 'Paris' } };
    yield { type: 'tool_result', call_id: '1', result: message.content };
    yield 'größer\u2028\r\n\ud83d 🙂';
  },
};

const anyOfThem = (message, session) => answers[message.content](message, session);
const answer = agent({ keys: ['old-key', process.env.AGENT_KEY], keepAliveSeconds: 0.05 }, anyOfThem);
const kept = agent({ keys: [process.env.AGENT_KEY], keepAliveSeconds: 0.05, keepSeconds: 60 }, anyOfThem);

const server = createServer(async (incoming, outgoing) => {
  if (incoming.url === '/parsed') incoming.body = await text(incoming).then(JSON.parse).catch(() => undefined);
  await (incoming.url.startsWith('/kept') ? kept : answer).node(incoming, outgoing);
});
server.listen(process.argv[2], '127.0.0.1');
