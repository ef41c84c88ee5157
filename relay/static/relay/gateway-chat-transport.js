/**
 * A `ChatTransport` for `useChat` of the AI SDK (`ai` 5, 6 and 7) over the gateway's own client: it recovers
 * from a cut connection while the page is visible, and follows the turns of other tabs.
 *
 * It needs `gateway-client.js` and `ui-message-chunks.js` beside it, and nothing else. Types:
 * `gateway-chat-transport.d.ts`; usage: `docs/front-ends.md`.
 *
 * @module gateway-chat-transport
 */

import { connect, GatewayError } from './gateway-client.js';
import { Answer, messageOf } from './ui-message-chunks.js';

const LINGER_MS = 5000; // for which an unused connection is kept: React's StrictMode unmounts and mounts again at once
const BUSY_MS = 50; // until a busy chat is checked again
const SESSION_ID = /^(?!\.{1,2}$)(?!~)[\w.:~@-]{1,128}$/;

/** @typedef {import('./gateway-chat-transport.js').TransportOptions} TransportOptions */
/** @typedef {import('./gateway-chat-transport.js').FollowedChat} FollowedChat */
/** @typedef {import('./gateway-chat-transport.js').SendRequest} SendRequest */
/** @typedef {import('./gateway-chat-transport.js').ReconnectRequest} ReconnectRequest */
/** @typedef {import('./gateway-chat-transport.js').Chunk} Chunk */
/** @typedef {import('./gateway-client.js').Turn} Turn */
/** @typedef {import('./ui-message-chunks.js').Frame} Frame */
/** @typedef {import('./ui-message-chunks.js').Reader} Reader */

/** Sends the messages of chats to sessions, and returns their answers as streams of chunks. */
export class GatewayChatTransport {
  resumeStreamIsReplay = true;
  /** @type {Map<string, Conversation>} by the chat's id */
  #conversations = new Map();
  /** @type {Map<string, FollowedChat>} by its id */
  #followed = new Map();
  #options;

  /** @param {TransportOptions} options */
  constructor(options = {}) {
    this.#options = options;
  }

  /** Send the chat's last message. An abort stops the turn. @param {SendRequest} request */
  async sendMessages({ chatId, messages, trigger, messageId, abortSignal, body, metadata }) {
    abortSignal?.throwIfAborted();
    const extra = { ...body, trigger, messageId, metadata };
    return this.#conversation(chatId).send(messages.at(-1), extra, abortSignal);
  }

  /** Return the turn in flight from its first chunk; `null` if there is none. @param {ReconnectRequest} request */
  async reconnectToStream({ chatId, abortSignal }) {
    return this.#conversation(chatId).resume(abortSignal);
  }

  /**
   * Show the turns that this page did not send, each with its question; a turn in flight from its start.
   *
   * @param {FollowedChat} chat
   * @returns {() => void} stops it
   */
  follow(chat) {
    this.#followed.set(chat.id, chat);
    this.#conversation(chat.id).follow(chat);
    return () => {
      if (this.#followed.get(chat.id) === chat) this.#followed.delete(chat.id);
      this.#conversations.get(chat.id)?.follow(this.#followed.get(chat.id) ?? null);
    };
  }

  /** Leave all sessions; their turns continue. */
  close() {
    this.#followed.clear();
    for (const conversation of this.#conversations.values()) conversation.close();
  }

  /** @param {string} chatId */
  #conversation(chatId) {
    const known = this.#conversations.get(chatId);
    if (known) return known;
    const conversation = new Conversation(chatId, this.#options, () => this.#conversations.delete(chatId));
    this.#conversations.set(chatId, conversation);
    conversation.follow(this.#followed.get(chatId) ?? null);
    return conversation;
  }
}

/** One session: its client, and the answers that are running or that no chat has read yet. */
class Conversation {
  #client;
  #onClose;
  #hasApprovals;
  /** @type {Set<Answer>} in the order of their turns */
  #answers = new Set();
  /** @type {string | null} the turn in flight, otherwise the next one */
  #currentId = null;
  /** @type {FollowedChat | null} */
  #follower = null;
  #isShowing = false;
  #resumes = 0;
  #pendingResumes = 0;
  /** @type {any} a number in a page, an object in Node */
  #lingering;
  /** @type {() => void} */
  #welcome = () => {};
  /** @type {Promise<void>} */
  #isWelcome = new Promise((resolve) => (this.#welcome = resolve));

  /** @param {string} chatId @param {TransportOptions} options @param {() => void} onClose */
  constructor(chatId, { ticket, approvals = false, ...options }, onClose) {
    this.#onClose = onClose;
    this.#hasApprovals = approvals;
    this.#client = connect({ ...options, sessionId: sessionIdOf(chatId), ticket: ticket && (() => ticket(chatId)) });
    this.#client.on('state', ({ state, code, content }) => state === 'closed' && this.#closed(code, content));
    this.#client.on('welcome', ({ active, queued }) => {
      this.#currentId = active?.turn_id ?? queued?.[0] ?? null;
      this.#welcome();
    });
    this.#client.on('user_message', (frame, turn) => this.#write(turn, frame));
    for (const kind of /** @type {const} */ (['token', 'event', 'notice', 'pending_resolved', 'snapshot'])) {
      this.#client.on(kind, (/** @type {any} */ frame, /** @type {Turn | null} */ turn) => {
        if (turn) this.#write(turn, frame);
      });
    }
    for (const kind of /** @type {const} */ (['final', 'error'])) {
      this.#client.on(kind, (/** @type {any} */ frame, /** @type {Turn} */ turn) => {
        this.#end(this.#write(turn, frame));
      });
    }
    this.#client.on('refused', (_, turn) => {
      const answer = [...this.#answers].find((known) => known.turn === turn);
      if (answer) this.#end(answer, turn?.error);
    });
  }

  /** @param {any} message the chat's last one @param {object} extra @param {AbortSignal} [signal] */
  send(message, extra, signal) {
    const { content, ...options } = messageOf(message, extra, this.#hasApprovals);
    const turn = this.#client.send(content, options);
    if (turn.error) throw turn.error;
    return this.#stream(this.#answerOf(turn), signal);
  }

  /** @param {AbortSignal} [signal] */
  async resume(signal) {
    this.#resumes++;
    this.#pendingResumes++;
    this.#settle();
    await Promise.race([this.#isWelcome, aborted(signal)]);
    this.#pendingResumes--;
    const { state, code, content } = this.#client.state;
    const answer = signal?.aborted ? null : (this.#unread() ?? this.#current());
    this.#settle();
    if (!answer && state === 'closed' && !signal?.aborted) throw new GatewayError({ code, content });
    return answer && this.#stream(answer, signal);
  }

  /** @param {FollowedChat | null} chat */
  follow(chat) {
    this.#follower = chat;
    this.#settle();
    this.#showUnread();
  }

  close() {
    this.#client.close();
  }

  // Answers.

  /** @param {Turn} turn */
  #answerOf(turn) {
    const isOf = (/** @type {Answer} */ { turn: of, turnId }) => of === turn || (turnId !== null && turnId === turn.id);
    const answer = [...this.#answers].find(isOf) ?? this.#newAnswer(turn.id, turn.clientMessageId !== null);
    answer.turn = turn;
    this.#answers.add(answer);
    return answer;
  }

  /** @param {string | null} turnId @param {boolean} [isOwn] was it sent by this page? */
  #newAnswer(turnId, isOwn = false) {
    return new Answer(turnId, { hasApprovals: this.#hasApprovals, continues: isOwn });
  }

  /** @param {Turn} turn @param {Frame} frame */
  #write(turn, frame) {
    const answer = this.#answerOf(turn);
    answer.write(frame);
    if (frame.turn_id) this.#currentId = frame.turn_id;
    if (!answer.isRead) this.#showUnread();
    return answer;
  }

  /** @param {Answer} answer @param {Error | null} [error] */
  #end(answer, error = null) {
    if (answer.turn?.id === this.#currentId) this.#currentId = null;
    answer.end(error);
    if (answer.isRead || !this.#follower) this.#answers.delete(answer);
    this.#settle();
  }

  /** The first answer that no chat has read. */
  #unread() {
    return [...this.#answers].find((answer) => !answer.isRead);
  }

  /** The answer of the turn in flight; perhaps none of its frames has arrived yet. */
  #current() {
    if (this.#currentId === null) return null;
    const isCurrent = (/** @type {Answer} */ { turn, turnId }) => (turn?.id ?? turnId) === this.#currentId;
    const answer = [...this.#answers].find(isCurrent) ?? this.#newAnswer(this.#currentId);
    this.#answers.add(answer);
    return answer;
  }

  /** Make the follower show the answers that no chat has read, one after the other. */
  async #showUnread() {
    if (this.#isShowing) return;
    this.#isShowing = true;
    try {
      for (let answer; this.#follower && (answer = this.#unread()); ) {
        if (!isBusy(this.#follower)) await show(answer, this.#follower);
        else await new Promise((resolve) => setTimeout(resolve, BUSY_MS));
      }
    } finally {
      this.#isShowing = false;
    }
  }

  /**
   * All chunks of an answer. An abort stops its turn; cancelling the stream does not.
   *
   * @param {Answer} answer
   * @param {AbortSignal} [signal]
   */
  #stream(answer, signal) {
    /** @type {ReadableStreamDefaultController<Chunk>} */
    let controller;
    const reader = {
      write: (/** @type {Chunk} */ chunk) => controller.enqueue(chunk),
      end: (/** @type {Error | null} */ error) => {
        signal?.removeEventListener('abort', onAbort);
        if (error) controller.error(error);
        else controller.close();
      },
    };
    const onAbort = () => {
      answer.detach(reader);
      controller.error(signal?.reason);
      this.#stopUnlessResumed(answer);
    };
    const start = (/** @type {ReadableStreamDefaultController<Chunk>} */ given) => {
      controller = given;
      signal?.addEventListener('abort', onAbort, { once: true });
      answer.attach(reader);
    };
    /** @type {ReadableStream<Chunk>} */
    const stream = new ReadableStream({ start, cancel: () => answer.detach(reader) });
    if (answer.isOver) this.#answers.delete(answer);
    this.#settle();
    return stream;
  }

  /** Stop a turn, unless the chat resumes: then it aborts its previous stream in the same moment. @param {Answer} answer */
  #stopUnlessResumed(answer) {
    const resumes = this.#resumes;
    queueMicrotask(() => {
      if (resumes !== this.#resumes || answer.isOver) return;
      if (answer.turn) answer.turn.cancel();
      else this.#client.cancel(answer.turnId);
    });
  }

  // The connection.

  /** Leave the session some time after it is no longer needed. */
  #settle() {
    clearTimeout(this.#lingering);
    const isUsed = this.#follower || this.#pendingResumes || [...this.#answers].some((answer) => answer.isRead);
    if (!isUsed) this.#lingering = setTimeout(() => this.close(), LINGER_MS);
  }

  /** @param {string} [code] @param {string} [content] */
  #closed(code, content) {
    this.#onClose();
    this.#welcome();
    queueMicrotask(() => {
      const error = new GatewayError({ code, content });
      for (const answer of this.#answers) this.#end(answer, error); // the client does not know of it yet
      clearTimeout(this.#lingering);
    });
  }
}

/** @param {FollowedChat} chat */
function isBusy({ status }) {
  return status === 'submitted' || status === 'streaming';
}

/** Make a chat show a question and resume its answer. @param {Answer} answer @param {FollowedChat} chat */
async function show(answer, chat) {
  const { question } = answer;
  if (question && !chat.messages.some(({ id }) => id === question.id)) chat.messages = [...chat.messages, question];
  try {
    await chat.resumeStream(); // this reads the answer
  } finally {
    answer.isRead = true; // even if the chat has failed
  }
}

/** The session for a chat's id, as mapped by the gateway's HTTP paths. @param {string} chatId */
function sessionIdOf(chatId) {
  if (SESSION_ID.test(chatId)) return chatId;
  const bytes = new TextEncoder().encode(chatId);
  return `~${btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`;
}

/** @param {AbortSignal} [signal] @returns {Promise<void>} */
function aborted(signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) resolve();
    signal?.addEventListener('abort', () => resolve(), { once: true });
  });
}
