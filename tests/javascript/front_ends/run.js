// One run of AG-UI's own client. It tells each event, and how the run ended, in a JSON object a line.
//
// node run.js OPTIONS   with {url, headers, threadId, runId, words}
import { HttpAgent } from "@ag-ui/client";

const options = JSON.parse(process.argv[2]);
const tell = (change) => process.stdout.write(`${JSON.stringify(change)}\n`);

const agent = new HttpAgent({ url: options.url, headers: options.headers, threadId: options.threadId });
agent.addMessage({ id: "u1", role: "user", content: options.words });
try {
  await agent.runAgent({ runId: options.runId }, { onEvent: ({ event }) => tell({ event }) });
  tell({ end: "finished", messages: agent.messages });
} catch (error) {
  tell({ end: "failed", error: String(error.message), messages: agent.messages });
}
process.exit();
