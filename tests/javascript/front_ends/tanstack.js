// TanStack AI's own client, without a page. It tells each chunk, and how a run ended, in a JSON object a line.
//
// node tanstack.js OPTIONS   with {url, headers} or {socket}, or both, to load the conversation over HTTP; and
//   {threadId, words}: one run; {join}: the run of that id; {threadId, load}: what standard input says, an object a line
import { createInterface } from "node:readline";
import { ChatClient, fetchServerSentEvents, webSocket } from "@tanstack/ai-client";

const options = JSON.parse(process.argv[2]);
const tell = (change) => process.stdout.write(`${JSON.stringify(change)}\n`);

// As a browser's: Node's, before version 22, says of one that could not be opened never that it is closed.
class BrowserSocket extends WebSocket {
  #hasFailed = false;

  constructor(...address) {
    super(...address);
    this.addEventListener("error", () => {
      if (this.readyState !== WebSocket.CONNECTING) return;
      this.#hasFailed = true;
      setTimeout(() => this.onclose?.({ code: 1006, reason: "" }));
    });
  }

  get readyState() {
    return this.#hasFailed ? WebSocket.CLOSED : super.readyState;
  }
}

const http = options.url && fetchServerSentEvents(options.url, { headers: options.headers });
const socket = options.socket && webSocket(options.socket, { WebSocketImpl: BrowserSocket });
const connection = socket && http ? { ...socket, hydrate: http.hydrate } : (socket ?? http);

const newClient = (threadId) =>
  new ChatClient({
    connection,
    threadId,
    forwardedProps: options.forwardedProps,
    ...(options.load && { persistence: true, history: options.history }),
    onChunk: (chunk) => tell({ threadId, chunk }),
    onError: (error) => tell({ error: error.message }),
    onMessagesChange: (messages) => tell({ seen: messages }),
    onResumeStateChange: (_, interrupts) => tell({ interrupts: interrupts.map(({ id }) => id) }),
    onLoadingChange: (isLoading) => tell({ isLoading }),
  });

const told = (client) => ({ status: client.getStatus(), messages: client.getMessages() });

async function join(runId) {
  try {
    for await (const chunk of connection.joinRun(runId)) tell({ chunk });
    tell({ end: "finished" });
  } catch (error) {
    tell({ end: "failed", error: error.message });
  }
}

if (options.join) {
  await join(options.join);
} else if (options.words) {
  const client = newClient(options.threadId);
  try {
    await client.sendMessage(options.words);
    tell(told(client));
  } catch (error) {
    tell({ end: "failed", error: error.message });
  }
} else {
  const client = newClient(options.threadId);
  if (options.load) client.attach(); // as a page does when it is shown
  const actions = {
    send: ({ text, body, whenBusy }) => client.sendMessage(text, body, { whenBusy }),
    stop: async () => client.stop(),
    resume: ({ resume }) => client.resumeInterruptsUnsafe(resume),
    older: () => client.loadOlderMessages(),
    tell: async () => {},
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    actions[order.do](order)
      .catch((error) => tell({ failed: error.message }))
      .then(() => tell({ done: order.do, hasOlder: client.getHasOlderMessages(), ...told(client) }));
  }
}
process.exit();
