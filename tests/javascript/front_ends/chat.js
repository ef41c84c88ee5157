// A page's chat without a page: the AI SDK's own state machine, which useChat only shows. It does what standard input
// says, a JSON object a line, and tells each change in one.
//
// node chat.js PACKAGE OPTIONS   with {id, api, headers}
import { createInterface } from "node:readline";

const [packageName, options] = [process.argv[2], JSON.parse(process.argv[3])];
const { AbstractChat, DefaultChatTransport } = await import(packageName);

const tell = (change) => process.stdout.write(`${JSON.stringify(change)}\n`);
const textOf = (message) =>
  (message?.parts ?? []).map((part) => (part.type === "text" ? part.text : "")).join("");

class State {
  #status = "ready";
  #error;
  messages = [];

  get status() {
    return this.#status;
  }
  set status(status) {
    this.#status = status;
    tell({ status });
  }
  get error() {
    return this.#error;
  }
  set error(error) {
    this.#error = error;
    if (error) tell({ error: error.message });
  }
  pushMessage = (message) => {
    this.messages = [...this.messages, message];
    this.#seen();
  };
  popMessage = () => {
    this.messages = this.messages.slice(0, -1);
  };
  replaceMessage = (index, message) => {
    this.messages = this.messages.with(index, structuredClone(message));
    this.#seen();
  };
  snapshot = (value) => structuredClone(value);
  #seen() {
    const message = this.messages.at(-1);
    if (message.role === "assistant") tell({ text: textOf(message), parts: message.parts.map((part) => part.type) });
  }
}

class Chat extends AbstractChat {
  constructor() {
    super({
      id: options.id,
      state: new State(),
      transport: new DefaultChatTransport({ api: options.api, headers: options.headers }),
      onFinish: ({ message, messages, isAbort, isDisconnect, isError, finishReason }) =>
        tell({
          finish: { text: textOf(message), isAbort, isDisconnect, isError, finishReason },
          answers: messages?.filter(({ role }) => role === "assistant").map(textOf),
        }),
    });
  }
}

const chat = new Chat();
const actions = {
  send: ({ text, messageId }) =>
    chat.sendMessage({ id: messageId, role: "user", parts: [{ type: "text", text }] }),
  stop: () => chat.stop(),
  resume: () => chat.resumeStream(),
};
tell({ status: chat.status });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  actions[order.do](order).then(() => tell({ done: order.do }));
}
process.exit();
