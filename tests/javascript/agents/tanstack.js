// An AG-UI agent behind TanStack AI's own response, which keeps its runs: `node tanstack.js PORT`. A request with
// `Last-Event-ID` gets the rest of a run. `GET /` tells how many runs have started.
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { memoryStream, toServerSentEventsResponse } from '@tanstack/ai';

let started = 0;

async function* answer(threadId, runId, said) {
  started += 1;
  yield { type: 'RUN_STARTED', threadId, runId };
  yield { type: 'TEXT_MESSAGE_START', messageId: 'm1', role: 'assistant' };
  for (let number = 0; number < 12; number += 1) {
    yield { type: 'TEXT_MESSAGE_CONTENT', messageId: 'm1', delta: `${number} größer ` };
    if (said === 'slowly') await new Promise((resolve) => setTimeout(resolve, 10));
  }
  yield { type: 'TEXT_MESSAGE_END', messageId: 'm1' };
  yield { type: 'TOOL_CALL_START', toolCallId: 'c1', toolCallName: 'clock' };
  yield { type: 'TOOL_CALL_ARGS', toolCallId: 'c1', delta: '{"zone":' };
  yield { type: 'TOOL_CALL_ARGS', toolCallId: 'c1', delta: '"UTC"}' };
  yield { type: 'TOOL_CALL_END', toolCallId: 'c1' };
  yield { type: 'RUN_FINISHED', threadId, runId };
}

async function respond(request, response) {
  if (request.method === 'GET') return response.end(String(started));
  const { threadId, runId, messages } = JSON.parse(Buffer.concat(await request.toArray()));
  const asked = new Request(`http://agent/?runId=${runId}`, { headers: request.headers });
  const answered = toServerSentEventsResponse(answer(threadId, runId, messages.at(-1).content), {
    durability: { adapter: memoryStream(asked), batch: 1 },
  });
  response.writeHead(answered.status, Object.fromEntries(answered.headers));
  Readable.fromWeb(answered.body).on('error', () => response.destroy()).pipe(response);
}

createServer(respond).listen(Number(process.argv[2]), '127.0.0.1');
