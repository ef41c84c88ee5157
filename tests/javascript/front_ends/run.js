// One run of AG-UI's own client. It tells each event, and how the run ended, in a JSON object a line.
//
// node run.js OPTIONS   with {url, headers, threadId, runId, words}, and {payload} to answer its interrupts in a second run
import { HttpAgent } from "@ag-ui/client";

const options = JSON.parse(process.argv[2]);
const tell = (change) => process.stdout.write(`${JSON.stringify(change)}\n`);

const agent = new HttpAgent({ url: options.url, headers: options.headers, threadId: options.threadId });
agent.addMessage({ id: "u1", role: "user", content: options.words });
try {
  let interrupts = [];
  const onEvent = ({ event }) => {
    tell({ event });
    interrupts = event.outcome?.interrupts ?? interrupts;
  };
  await agent.runAgent({ runId: options.runId }, { onEvent });
  if (options.payload) {
    const resume = interrupts.map(({ id }) => ({ interruptId: id, status: "resolved", payload: options.payload }));
    await agent.runAgent({ runId: `${options.runId}-resumed`, resume }, { onEvent });
  }
  tell({ end: "finished", messages: agent.messages });
} catch (error) {
  tell({ end: "failed", error: String(error.message), messages: agent.messages });
}
process.exit();
