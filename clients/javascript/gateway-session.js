/**
 * A conversation as a list of immutable messages, for React and other libraries that render a page from a state. A change
 * creates a new list, and new objects only for the changed messages.
 *
 * It needs `gateway-client.js` beside it. Types: `gateway-session.d.ts`; usage: `docs/client.md`.
 *
 * @module gateway-session
 */

import { connect, KINDS, newId, readTurn, withSettled } from './gateway-client.js';

const LINGER_MS = 5000; // for which an unused connection is kept: React's StrictMode unmounts and mounts again at once
const PAGE_TURNS = 30;
const MESSAGE = 'user_message';

/** @typedef {import('./gateway-client.js').EndedTurn} EndedTurn */
/** @typedef {import('./gateway-client.js').GatewayClient} GatewayClient */
/** @typedef {import('./gateway-client.js').HistoryPage} HistoryPage */
/** @typedef {import('./gateway-client.js').SendOptions} SendOptions */
/** @typedef {import('./gateway-client.js').Turn} Turn */
/** @typedef {import('./gateway-session.js').SessionOptions} SessionOptions */
/** @typedef {import('./gateway-session.js').SessionState} SessionState */
/** @typedef {Record<string, any> & {type: string}} Frame any frame; `any`: its fields depend on its type */

/** One turn as shown messages: a person's message and the answer. A notice is an answer without a turn. */
class Entry {
  /** @type {unknown} the id of the turn that it replaces */
  replaces;
  /** @type {any} a message of the user's, with any of its fields */
  asked;
  /** @type {any} an answer, with any of its fields */
  answer;

  /** @param {string} id @param {string | null} [turnId] @param {Turn} [turn] without one, the turn is from the history */
  constructor(id, turnId = null, turn) {
    this.id = id;
    this.turnId = turnId;
    this.turn = turn;
    this.isStarted = this.isOver = !turn; // does it have its place in the conversation, and has it ended?
  }

  /** Show the message, or change its state. @param {string} status @param {unknown} [text] if it is known */
  ask(status, text = null, error = /** @type {unknown} */ (null)) {
    const { id, turnId, asked = text !== null && { id, role: 'user', parts: [{ type: 'text', text }] } } = this;
    if (asked) this.asked = changed(asked, { turnId, status, error });
  }

  /** Show the answer so far. @param {object} fields */
  show(fields) {
    const { id, turnId } = this;
    const first = { id: `${id}:answer`, role: 'assistant', status: 'streaming', finishReason: null, error: null };
    this.answer = changed(this.answer ?? first, { turnId, ...fields });
  }
}

/** One session as shown on a page. It connects when it has subscribers, and disconnects some time after the last one left. */
export class GatewaySession {
  /** @type {Omit<SessionOptions, 'history'>} */
  options;
  /** @type {GatewayClient | undefined} */
  #client;
  /** @type {Entry[]} in the order of display */
  #entries = [];
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {any} a number in a page, an object in Node */
  #lingering;
  /** @type {string | null | undefined} the cursor of the next older page; `undefined`: none was read, `null`: there are no more */
  #next;
  /** @type {Entry | undefined} the oldest one in those pages */
  #oldest;
  /** @type {SessionState} */
  #state;
  #first;

  /** @param {SessionOptions} options */
  constructor({ history, ...options }) {
    const { send, answer, stop, regenerate, loadOlder } = this;
    const actions = { send, answer, stop, regenerate, loadOlder };
    this.#state = { messages: [], status: 'ready', connection: { state: 'connecting' }, pending: [], ...actions };
    this.options = options;
    if (history) this.#take(history, true);
    this.#first = this.#state;
  }

  getSnapshot = () => this.#state;

  getServerSnapshot = () => this.#first;

  /** Call a listener after each change, and stay connected meanwhile. @param {() => void} listener */
  subscribe = (listener) => {
    clearTimeout(this.#lingering);
    this.#listeners.add(listener);
    this.#connected();
    return () => {
      this.#listeners.delete(listener);
      if (!this.#listeners.size) this.#lingering = setTimeout(this.close, LINGER_MS);
    };
  };

  /** Disconnect now; turns continue. The next subscriber connects again. */
  close = () => {
    const client = this.#client;
    this.#client = undefined; // its further events are ignored
    client?.close();
  };

  /** Send a message, and show it at once. @param {string} content @param {SendOptions} [options] */
  send = (content, options = {}) => {
    const turn = this.#connected().send(content, options);
    const entry = this.#entry(turn);
    entry.replaces ??= options.replaces;
    const isNew = !entry.asked && (options.type ?? MESSAGE) === MESSAGE;
    if (isNew) entry.ask(turn.error ? 'failed' : 'sending', content, turn.error);
    this.#publish();
    return turn;
  };

  /** @type {GatewayClient['answer']} */
  answer = (...given) => this.#connected().answer(...given);

  /** @param {string} [turnId] by default the turn in flight */
  stop = (turnId) => this.#connected().cancel(turnId);

  /** Send the message of a turn again, by default the last one, and show the new answer in its place. @param {string} [turnId] */
  regenerate = (turnId) => {
    const entry = this.#shown().findLast((each) => each.asked && (!turnId || each.turnId === turnId));
    if (!entry) return null;
    if (!entry.turnId) this.#entries = this.#entries.filter((each) => each !== entry); // it was refused
    return this.send(entry.asked.parts[0].text, { onBusy: 'interrupt', replaces: entry.turnId ?? undefined });
  };

  /** Show older turns; resolves to whether there are more. @param {{limit?: number}} [options] @returns {Promise<boolean>} */
  loadOlder = async ({ limit = PAGE_TURNS } = {}) => {
    const { length } = this.#entries;
    do await this.#load(limit);
    while (this.#next && this.#entries.length === length);
    return this.#next !== null;
  };

  // The connection.

  #connected() {
    return (this.#client ??= this.#connect());
  }

  #connect() {
    const ticket = () => this.options.ticket?.(); // the option may have changed by then
    const client = connect({ cursor: { offset: 0 }, ...this.options, ticket });
    this.#entries = this.#entries.filter((entry) => !entry.turn); // the others are in the log
    for (const kind of KINDS) {
      client.on(kind, (/** @type {any} */ frame, /** @type {Turn | null | undefined} */ turn) => {
        if (this.#client !== client) return;
        if (turn) this.#show(kind, frame, turn);
        else if (kind === 'notice') this.#note(frame);
        if (kind === 'snapshot') this.#next = undefined; // turns may have ended that are not in the log
        if (frame.history && this.#next === undefined) this.#load(PAGE_TURNS).catch(() => {}); // the page may ask again
        this.#publish();
      });
    }
    return client;
  }

  /** Show an operator's notice. @param {any} notice */
  #note({ code, content: text }) {
    const entry = new Entry(newId());
    entry.show({ role: 'notice', status: 'ended', parts: [{ type: 'notice', code, text }] });
    this.#entries.push(entry);
  }

  /** Handle an event of a turn. @param {string} kind @param {Frame} frame @param {Turn} turn */
  #show(kind, frame, turn) {
    const entry = this.#entry(turn);
    const message = kind === 'snapshot' ? frame.user_message : frame;
    const isText = message?.type === MESSAGE;
    if (isText) entry.replaces = message.replaces; // the history does not say
    if (!entry.turn || kind === 'cancel_ack') return; // it is in the history, or carries no state
    entry.isOver = turn.status === 'ended';
    if (kind === 'accepted') return entry.isStarted || entry.ask('queued');
    if (kind === 'refused') return entry.ask('failed', null, turn.error);
    entry.isStarted = true;
    this.#entries.sort((one, other) => +other.isStarted - +one.isStarted); // it has its place now
    entry.ask(turn.id ? 'sent' : 'cancelled', isText ? message.content : null);
    if (kind === 'pending_resolved' || frame.type === 'tool_result') this.#settle(frame);
    if (entry.isOver) entry.show(endOf(turn));
    else if (kind !== MESSAGE) entry.show({ parts: turn.parts });
  }

  /** The entry of a turn; a new one if it is not shown yet. @param {Turn} turn */
  #entry(turn) {
    const { id, clientMessageId } = turn;
    let entry = this.#entries.find((each) => each.turn === turn || (id && each.turnId === id));
    if (!entry) this.#entries.push((entry = new Entry(/** @type {string} */ (clientMessageId ?? id), id, turn)));
    entry.turn &&= turn;
    entry.turnId = id;
    return entry;
  }

  /** Change the tool call that an earlier turn made. @param {Frame} frame */
  #settle(frame) {
    for (const entry of this.#entries) {
      if (entry.answer) entry.show({ parts: withSettled(entry.answer.parts, frame) });
    }
  }

  // The history.

  /** Read the next page, if there is one. @param {number} limit */
  async #load(limit) {
    const before = this.#next;
    if (before !== null) this.#take(await this.#connected().history({ before, limit }), before === undefined);
  }

  /** Show the turns of a page that are not shown yet. @param {Pick<HistoryPage, 'turns' | 'next'>} page @param {boolean} isNewest */
  #take({ turns, next }, isNewest) {
    let oldest = isNewest ? this.#entries.find((entry) => !entry.isOver) : this.#oldest;
    let isJoined = !isNewest || !turns.length;
    for (const turn of turns) {
      const known = this.#entries.find((entry) => entry.turnId === turn.turn_id);
      const entry = known ?? endedEntry(turn);
      isJoined ||= !!known;
      if (!known) this.#entries.splice(oldest ? this.#entries.indexOf(oldest) : Infinity, 0, entry);
      oldest = entry;
    }
    if (!isJoined && oldest) this.#entries = this.#entries.slice(this.#entries.indexOf(oldest)); // after the missing ones
    this.#oldest = oldest;
    this.#next = next;
    this.#publish();
  }

  // The state.

  /** The entries, without the turns that others replace. */
  #shown() {
    const replaced = this.#entries.map(({ asked, replaces }) => asked?.status !== 'failed' && replaces);
    return this.#entries.filter(({ turnId }) => !turnId || !replaced.includes(turnId));
  }

  #publish() {
    const shown = this.#shown();
    const { messages: known } = this.#state;
    const made = shown.flatMap(({ asked, answer }) => [asked, answer]).filter(Boolean);
    const isSame = made.length === known.length && made.every((message, index) => message === known[index]);
    const client = this.#client && { connection: this.#client.state, pending: this.#client.pending };
    this.#state = { ...this.#state, ...client, messages: isSame ? known : made, status: statusOf(shown) };
    for (const listener of this.#listeners) listener();
  }
}

/** The object itself, unless a field changes. @param {any} object @param {Record<string, any>} fields */
function changed(object, fields) {
  return Object.keys(fields).every((name) => object[name] === fields[name]) ? object : { ...object, ...fields };
}

/** @param {Entry[]} entries @returns {SessionState['status']} */
function statusOf(entries) {
  const live = entries.filter((entry) => !entry.isOver);
  if (live.length) return live.some((entry) => entry.answer) ? 'streaming' : 'submitted';
  const last = entries.at(-1);
  return (last?.answer ?? last?.asked)?.status === 'failed' ? 'error' : 'ready';
}

/** How an answer ended. @param {Pick<Turn, 'error' | 'finishReason' | 'parts'>} turn */
function endOf({ error, finishReason, parts }) {
  return { status: error ? 'failed' : 'ended', finishReason, error, parts };
}

/** @param {EndedTurn} ended */
function endedEntry(ended) {
  const turn = readTurn(ended);
  const entry = new Entry(turn.id, turn.id);
  entry.ask('sent', turn.question);
  entry.show(endOf(turn));
  return entry;
}
