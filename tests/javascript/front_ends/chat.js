// A page's chats without a page: the AI SDK's own state machine, which useChat only shows. It does what standard input
// says, a JSON object a line, and tells each change in one, with the chat's id.
//
// node chat.js PACKAGE OPTIONS   with {id, api, headers, body}, {id, url, headers} for chats that share a socket, or
// {id, base} for the gateway's own transport (with approvals, so not for version 5 where a tool waits for one)
import { createInterface } from "node:readline";

import { GatewayChatTransport } from "../package/gateway-chat-transport.js";

const [packageName, options] = [process.argv[2], JSON.parse(process.argv[3])];
const sdk = await import(packageName);
const { AbstractChat, DefaultChatTransport, WebSocketChatTransport } = sdk;

const tell = (change) => process.stdout.write(`${JSON.stringify(change)}\n`);
const textOf = (message) =>
  (message?.parts ?? []).map((part) => (part.type === "text" ? part.text : "")).join("");

const toolsOf = (message) =>
  message.parts
    .filter((part) => part.type === "dynamic-tool")
    .map(({ toolCallId, toolName, state, input, output, errorText, approval }) => ({
      approval,
      toolCallId,
      toolName,
      state,
      input,
      output,
      errorText,
    }));

const transport = options.base
  ? new GatewayChatTransport({ base: options.base, ticket: () => options.ticket, approvals: true })
  : options.url
    ? new WebSocketChatTransport({ url: options.url, headers: options.headers })
    : new DefaultChatTransport({ api: options.api, headers: options.headers, body: options.body });

class State {
  #status = "ready";
  #error;
  #tell;
  messages = [];

  constructor(tellOfChat) {
    this.#tell = tellOfChat;
  }

  get status() {
    return this.#status;
  }
  set status(status) {
    this.#status = status;
    this.#tell({ status });
  }
  get error() {
    return this.#error;
  }
  set error(error) {
    this.#error = error;
    if (error) this.#tell({ error: error.message });
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
    if (message.role === "assistant") this.#tell({ text: textOf(message), tools: toolsOf(message) });
  }
}

class Chat extends AbstractChat {
  constructor(id) {
    const tellOfChat = (change) => tell({ id, ...change });
    super({
      id,
      state: new State(tellOfChat),
      transport,
      sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithApprovalResponses, // from version 6 on
      onFinish: ({ message, messages, isAbort, isDisconnect, isError, finishReason }) =>
        tellOfChat({
          finish: { text: textOf(message), isAbort, isDisconnect, isError, finishReason },
          answers: messages?.filter(({ role }) => role === "assistant").map(textOf),
        }),
    });
  }
}

const chats = new Map();
const chatOf = (id = options.id) => chats.get(id) ?? chats.set(id, new Chat(id)).get(id);
const actions = {
  send: (chat, { text, messageId }) =>
    chat.sendMessage({ id: messageId, role: "user", parts: [{ type: "text", text }] }),
  approve: (chat, { approvalId, approved, reason }) =>
    chat.addToolApprovalResponse({ id: approvalId, approved, reason }),
  stop: (chat) => chat.stop(),
  resume: (chat) => chat.resumeStream(),
  follow: async (chat) => transport.follow(chat),
  questions: async (chat) => tell({ questions: chat.messages.filter(({ role }) => role === "user").map(textOf) }),
};
tell({ status: chatOf().status });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  const chat = chatOf(order.id);
  actions[order.do](chat, order).then(() => tell({ id: chat.id, done: order.do }));
}
process.exit();
