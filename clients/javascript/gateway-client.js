/**
 * A client for the gateway: a connection that reconnects by itself and continues where it was.
 *
 * It speaks the `gateway.v1` dialect, needs no build step, and runs in every evergreen browser, in workers, and in Node,
 * if necessary with a WebSocket class passed in. Where no socket can be opened it loads `gateway-http-socket.js` from
 * beside it; it needs no other module. Types: `gateway-client.d.ts`; usage: `docs/client.md`.
 *
 * @module gateway-client
 */

const SUBPROTOCOL = 'gateway.v1';
const BASE_DELAY_MS = 1000;
const MAX_DELAY_MS = 15_000;
const STABLE_MS = 5000; // a connection that lasted this long resets the backoff
const CONNECT_LIMIT_MS = 20_000; // for the ticket, the handshake and `welcome` together
const SILENT_HEARTBEATS = 2.5; // without a frame for this many heartbeats the connection is dead
const MAX_UNACCEPTED = 100;
const SOCKETS_BEFORE_HTTP = 2; // so many in a row that could not be opened
const HTTP_MS = 600_000; // a connection over HTTP that is this old is left for a socket while nothing happens on it
const SESSION_ID = /^(?!\.{1,2}$)[\w.:~@-]{1,128}$/;
const SOCKET_ADDRESS = /^\w+:\/\/[^?]+?\/ws\/[^/?]+\/?(?:\?|$)/; // REST is beside it
const CLIENT_MESSAGE_ID = /^[\w:-]{1,128}$/;

/** Every kind of event. */
export const KINDS = /** @type {const} */ ([
  'state', 'welcome', 'snapshot', 'user_message', 'token', 'final', 'error', 'refused', 'accepted', 'cancel_ack', 'notice',
  'pending', 'pending_resolved', 'event', 'disconnect',
]);

/** Close codes that mean "do not come back", for a connection that ended without a `disconnect` frame. */
const FINAL_CLOSE_CODES = new Map([
  [1000, 'closed'],
  [4401, 'unauthorized'],
  [4403, 'forbidden'],
]);

/** @typedef {import('./gateway-client.js').ConnectOptions} ConnectOptions */
/** @param {number} bytes */
const sizeOf = (bytes) => {
  for (const [unit, factor] of /** @type {const} */ ([['MB', 1_048_576], ['KB', 1_024]])) {
    if (bytes % factor === 0) return `${bytes / factor} ${unit}`;
  }
  return `${bytes} bytes`;
};

/** @typedef {import('./gateway-client.js').Cursor} Cursor */
/** @typedef {import('./gateway-client.js').ErrorFrame} ErrorFrame */
/** @typedef {import('./gateway-client.js').GatewayEvents} GatewayEvents */
/** @typedef {import('./gateway-client.js').HistoryPage} HistoryPage */
/** @typedef {import('./gateway-client.js').EndedTurn} EndedTurn */
/** @typedef {import('./gateway-client.js').Part} Part */
/** @typedef {import('./gateway-client.js').PendingRequest} PendingRequest */
/** @typedef {import('./gateway-client.js').SendOptions} SendOptions */
/** @typedef {import('./gateway-client.js').StateInfo} StateInfo */
/** @typedef {Record<string, any> & {type: string}} Frame any frame; `any`: its fields depend on its type */

/**
 * Open a session and keep it open.
 *
 * @param {ConnectOptions} options
 */
export function connect(options) {
  return new GatewayClient(options);
}

/** Make a random id for a session or a message; unlike `crypto.randomUUID` it also works on a page served without TLS. */
export function newId() {
  if (!globalThis.crypto) throw new TypeError('There is no crypto here: import react-native-get-random-values first');
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Why a message was refused, or a turn ended without its answer. */
export class GatewayError extends Error {
  /** @param {Partial<ErrorFrame>} frame */
  constructor({ code, content, retry_after_ms }) {
    super(content);
    this.name = 'GatewayError';
    this.code = code ?? 'internal';
    this.retryAfterMs = retry_after_ms ?? null;
  }
}

/**
 * One message and everything that is streamed in answer to it.
 *
 * Iterate over it to get the answer's **whole text so far** at each change:
 * `for await (const text of turn) element.textContent = text`. Names with an underscore are for this module.
 */
export class Turn {
  /** @type {(() => void)[]} */
  #waiters = [];
  #version = 0;
  /** @type {string | null} */
  id = null;
  /** @type {'sending' | 'queued' | 'running' | 'ended'} */
  status = 'sending';
  /** @type {number | null} */
  position = null;
  text = '';
  /** @type {readonly Part[]} */
  parts = [];
  isStopped = false;
  /** @type {string | null} */
  finishReason = null;
  /** @type {GatewayError | null} */
  error = null;
  _isSent = false;
  /** The server lists it neither as running nor as queued: its last frames are on their way, or gone. */
  _isOver = false;
  /** @type {Deferred<string | null>} */
  _accepted = deferred();
  /** @type {Deferred<string>} */
  _done = deferred();
  accepted = this._accepted.promise;
  done = this._done.promise;

  /**
   * @param {GatewayClient} client
   * @param {Frame | null} message the message sent by this client; `null`: another client's turn
   */
  constructor(client, message = null) {
    this._client = client;
    this._message = message;
    /** @type {string | null} */
    this.clientMessageId = message?.client_message_id ?? null;
  }

  /** Stop it, even before it is accepted. The text so far stays. */
  cancel() {
    this._client._cancelTurn(this);
  }

  async *[Symbol.asyncIterator]() {
    for (let seen = 0; ; ) {
      if (seen !== this.#version) {
        seen = this.#version;
        yield this.text;
      } else if (this.status === 'ended') {
        if (this.error) throw this.error;
        return;
      } else {
        await new Promise((resolve) => this.#waiters.push(() => resolve(null)));
      }
    }
  }

  /** @param {string} text */
  _show(text) {
    if (text === this.text) return;
    this.text = text;
    this.parts = withText(this.parts, text);
    this.#version++;
    this.#wake();
  }

  /** @param {string} reason @param {GatewayError | null} error */
  _end(reason, error = null) {
    if (this.status === 'ended') return;
    this.status = 'ended';
    this.position = null;
    this.finishReason = reason;
    this.error = error;
    if (error) {
      this._accepted.reject(error);
      this._done.reject(error);
    } else {
      this._accepted.resolve(this.id);
      this._done.resolve(this.text);
    }
    this.#wake();
  }

  #wake() {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

// The parts of an answer. A change makes a new list, and new objects only of what changed.

/** Add what an answer's whole text has more than its parts. @param {readonly Part[]} parts @param {string} text */
function withText(parts, text) {
  const shown = parts.reduce((length, part) => length + (part.type === 'text' ? part.text.length : 0), 0);
  return extended(parts, 'text', text.slice(shown));
}

/** @param {readonly Part[]} parts @param {'text' | 'reasoning'} type @param {string} more @returns {readonly Part[]} */
function extended(parts, type, more) {
  if (!more) return parts;
  const last = parts.at(-1);
  return last?.type === type ? [...parts.slice(0, -1), { type, text: last.text + more }] : [...parts, { type, text: more }];
}

/** Add an event of the agent, or a notice. @param {readonly Part[]} parts @param {Frame} frame @returns {readonly Part[]} */
function withEvent(parts, frame) {
  const { type, call_id: id = frame.tool_call_id, tool_call: call = frame } = frame;
  if (type === 'reasoning' && typeof frame.token === 'string') return extended(parts, type, frame.token);
  if (type === 'message_start') return parts;
  if (type === 'notice') return [...parts, { type, code: frame.code, text: frame.content }];
  const known = type === 'tool_result' ? withSettled(parts, frame) : parts;
  if (known !== parts) return known;
  if (type !== 'tool_call' || !id) return [...parts, { type: 'event', event: frame }];
  const callId = call.call_id ?? call.tool_call_id ?? id; // a question may have another id than the call it is about
  const asked = frame.requires_approval ? /** @type {const} */ ({ state: 'asking', question: id }) : {};
  const changed = withCall(parts, callId, asked);
  if (changed !== parts) return changed;
  const { tool_name: toolName, name = '', arguments: input = null } = call;
  const made = /** @type {const} */ ({ type: 'tool', state: 'running', question: null, output: null, error: null });
  return [...parts, { ...made, callId, toolName: toolName ?? name, input, ...asked }];
}

/** Change the tool call with this id, or with this question. @param {readonly Part[]} parts @param {string} id @param {object} fields */
function withCall(parts, id, fields) {
  const isMeant = (/** @type {Part} */ part) => part.type === 'tool' && (part.callId === id || part.question === id);
  return parts.some(isMeant) ? parts.map((part) => (isMeant(part) ? { ...part, ...fields } : part)) : parts;
}

/**
 * Change the tool call that a `tool_result` or a `pending_resolved` is about; without such a call it is the same list.
 *
 * @param {readonly Part[]} parts
 * @param {Frame} frame
 */
export function withSettled(parts, frame) {
  const { type, call_id: id = frame.tool_call_id, result: output = null, error = null } = frame;
  if (type !== 'tool_result') return withCall(parts, id, { state: 'running', question: null });
  return withCall(parts, id, { state: error === null ? 'done' : 'failed', question: null, output, error });
}

/** @param {Pick<EndedTurn, 'answer' | 'events'>} turn */
function partsOf({ answer, events }) {
  const codePoints = events.length ? [...answer] : [];
  const before = (/** @type {number} */ position) => codePoints.slice(0, position).join('');
  /** @type {readonly Part[]} */
  let parts = [];
  for (const { position, event } of events) parts = withEvent(withText(parts, before(position)), event);
  return withText(parts, answer);
}

/** What a person wrote; `null`: the message is of another kind. @param {string} message as it is kept */
function writtenBy(message) {
  try {
    const { type } = JSON.parse(message);
    return typeof type === 'string' && type !== 'user_message' ? null : message;
  } catch {
    return message;
  }
}

/** An ended turn of the history, as what a {@link Turn} has of it, and what a person wrote. @param {EndedTurn} turn */
export function readTurn(turn) {
  const { turn_id: id, message, answer: text, finish_reason: finishReason, error } = turn;
  const failure = error && new GatewayError(error);
  return { id, question: writtenBy(message), text, parts: partsOf(turn), finishReason, error: failure };
}

/** The agent's questions to a person that no message has answered yet, as far as known from the frames. */
class PendingRequests {
  /** @type {readonly PendingRequest[]} */
  list = [];
  #knownUpTo = 0; // older frames are accounted for in the `welcome` that listed the requests
  /** @type {Map<string, PendingRequest[]>} the requests that a running turn answers */
  #answered = new Map();

  /** @param {Frame} frame */
  welcome({ pending, offset }) {
    this.#knownUpTo = offset;
    this.#answered.clear();
    this.#set(pending ?? []);
  }

  /** Apply a frame of the log. @param {Frame} frame @returns {boolean} whether the list has changed */
  take(frame) {
    if (frame.offset <= this.#knownUpTo) return false;
    const { list } = this;
    const callId = frame.call_id ?? frame.tool_call_id;
    if (frame.type === 'tool_call' && frame.requires_approval) this.#set([...this.#without(callId), asked(frame, callId)]);
    else if (frame.type === 'tool_result') this.#set(this.#without(callId));
    else if (frame.type === 'pending_resolved') this.#resolve(frame);
    else if (frame.type === 'error' || frame.is_final) this.#end(frame);
    return list !== this.list;
  }

  /** @param {Frame} frame */
  #resolve({ call_id: callId, turn_id: turnId = '' }) {
    const found = this.list.filter((request) => request.call_id === callId);
    this.#answered.set(turnId, [...(this.#answered.get(turnId) ?? []), ...found]);
    this.#set(this.#without(callId));
  }

  /** An answer that reached no agent does not count. @param {Frame} frame */
  #end({ turn_id: turnId = '', code }) {
    const answered = this.#answered.get(turnId) ?? [];
    this.#answered.delete(turnId);
    if (code === 'upstream_unavailable') this.#set([...answered, ...this.list]);
  }

  /** @param {string} callId */
  #without(callId) {
    return this.list.filter((request) => request.call_id !== callId);
  }

  /** @param {PendingRequest[]} list */
  #set(list) {
    if (list.length || this.list.length) this.list = Object.freeze(list);
  }
}

/** The request in a `tool_call`: about the call that it names, or about itself. @param {Frame} frame @param {string} callId */
function asked(frame, callId) {
  const { tool_name: toolName, name = '', arguments: given = null } = frame.tool_call ?? frame;
  const turnId = /** @type {string} */ (frame.turn_id);
  return { call_id: callId, turn_id: turnId, tool_name: toolName ?? name, arguments: given, expires_at: null };
}

/** One session, over one connection at a time. Created by {@link connect}. */
export class GatewayClient {
  #url;
  #ticket;
  #WebSocket;
  /** @type {Map<string, Set<Function>>} */
  #handlers = new Map();
  /** @type {Map<string, Turn>} turns that have an id and have not ended */
  #turns = new Map();
  /** @type {Map<string, Turn>} own turns by `client_message_id`, until the server has stored them */
  #unaccepted = new Map();
  /** @type {Map<string, {message: Frame, page: Deferred<HistoryPage>, isAsked: boolean}>} until they are answered */
  #readings = new Map();
  /** @type {Set<string>} turns to stop, until the server has acknowledged it */
  #cancels = new Set();
  #pending = new PendingRequests();
  /** @type {string | null} */
  #activeId = null;
  /** @type {Frame | null} */
  #welcome = null;
  /** @type {Frame | null} the newest one, until a frame of the log follows */
  #snapshot = null;
  /** @type {string | null} */
  #epoch;
  /** @type {number | null} */
  #offset;
  /** @type {any} the injected class may be any WebSocket */
  #socket = null;
  #mayUseHttp;
  #isOverHttp = false;
  #hasHttpAnswered = false; // since a socket was open
  #failedSockets = 0; // in a row
  #connection = 0; // counts connections: events of an old one are ignored
  #attempt = 0;
  #openedAt = 0;
  #notBefore = 0;
  #lastFrameAt = 0;
  #silenceLimitMs = 0;
  /** @type {any} a number here, an object in Node */
  #reconnectTimer;
  /** @type {any} */
  #lineTimer;
  /** @type {StateInfo} */
  #state = { state: 'connecting' };

  /** @param {ConnectOptions} options */
  constructor(options) {
    this.#url = socketUrl(options);
    this.#ticket = options.ticket;
    this.#mayUseHttp = (options.http ?? canReadStreams()) && SOCKET_ADDRESS.test(this.#url);
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) {
      throw new TypeError('There is no WebSocket here: pass a class, such as that of the package ws: connect({ WebSocket })');
    }
    this.#epoch = options.cursor?.epoch ?? null;
    this.#offset = options.cursor?.offset ?? null;
    globalThis.addEventListener?.('online', this.#onOnline);
    globalThis.addEventListener?.('offline', this.#onOffline);
    globalThis.document?.addEventListener('visibilitychange', this.#onVisible);
    this.#open();
  }

  /** The state of the connection. */
  get state() {
    return this.#state;
  }

  /** The last position seen, from which another client can start; `null` before the first one. @returns {Cursor | null} */
  get cursor() {
    return this.#offset === null ? null : { epoch: this.#epoch, offset: this.#offset };
  }

  /** The id of the turn in flight, as far as known. */
  get activeTurnId() {
    return this.#activeId;
  }

  /** The agent's questions to a person that no message has answered yet, oldest first. */
  get pending() {
    return this.#pending.list;
  }

  /**
   * Call `handler` for every event of a kind.
   *
   * @template {keyof GatewayEvents} Kind
   * @param {Kind} kind
   * @param {GatewayEvents[Kind]} handler
   * @returns {() => void} removes the handler
   */
  on(kind, handler) {
    const handlers = this.#handlers.get(kind) ?? new Set();
    this.#handlers.set(kind, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  /**
   * Send a message. It is kept and sent again over new connections until the server has stored it, and answered once. If a
   * message with the same id is in progress, this returns its turn.
   *
   * @param {string | undefined} content
   * @param {SendOptions} options
   */
  send(content, { onBusy, type = 'user_message', clientMessageId = newId(), ...fields } = {}) {
    if (!CLIENT_MESSAGE_ID.test(clientMessageId)) throw new TypeError('clientMessageId: 1 to 128 of A-Z a-z 0-9 : _ -');
    const underWay = [...this.#unaccepted.values(), ...this.#turns.values()];
    const known = underWay.find((turn) => turn.clientMessageId === clientMessageId);
    if (known) return known;
    const message = { ...fields, type, content, client_message_id: clientMessageId, on_busy: onBusy };
    const turn = new Turn(this, message);
    if (this.#state.state === 'closed') {
      this.#refuse(turn, 'closed', 'The connection is closed.');
    } else if (this.#unaccepted.size >= MAX_UNACCEPTED) {
      this.#refuse(turn, 'queue_full', 'Too many messages are waiting to be sent.');
    } else {
      this.#unaccepted.set(clientMessageId, turn);
      this.#sendTurn(turn);
      if (this.#state.delayMs === null) this.wake();
    }
    return turn;
  }

  /**
   * Answer a question of the agent with a `hitl_decision`; the first answer of any client counts.
   *
   * @param {string} callId
   * @param {'approve' | 'edit' | 'reject'} decision
   * @param {SendOptions} fields `arguments` of an `edit`, a `reason`
   */
  answer(callId, decision, fields = {}) {
    return this.send(undefined, { ...fields, type: 'hitl_decision', call_id: callId, decision });
  }

  /**
   * Stop a turn of this client or another one; without an id the one in flight, otherwise this client's next one.
   *
   * @param {string | null} turnId
   * @returns {void}
   */
  cancel(turnId = this.#activeId) {
    const [next] = turnId ? [] : [...this.#turns.values(), ...this.#unaccepted.values()];
    if (next) return this._cancelTurn(next);
    if (!turnId) return this.#transmit({ type: 'cancel' });
    this.#turn(turnId).isStopped = true;
    this.#cancels.add(turnId);
    this.#transmit({ type: 'cancel', turn_id: turnId });
  }

  /**
   * Read a page of ended turns, newest first; `before` is the `next` of the previous page. The request is repeated over new
   * connections until it is answered.
   *
   * @param {{before?: string | null, limit?: number}} options
   * @returns {Promise<HistoryPage>}
   */
  history({ before = null, limit = 50 } = {}) {
    const id = newId();
    const message = { type: 'history', before: before ?? '', limit, client_message_id: id };
    const reading = { message, page: /** @type {Deferred<HistoryPage>} */ (deferred()), isAsked: false };
    this.#readings.set(id, reading);
    if (this.#state.state === 'closed') this.#failReadings('closed', 'The connection is closed.');
    else if (this.#state.delayMs === null) this.wake();
    else this.#askHistory();
    return reading.page.promise;
  }

  /** Reconnect at once instead of waiting; a delay that the server asked for is still respected. */
  wake() {
    if (this.#state.state === 'waiting' && Date.now() >= this.#notBefore) this.#open();
  }

  /** Close permanently. Open turns fail here with `closed`; the server continues them. */
  close() {
    this.#end({ code: 'closed', content: 'The connection was closed.' });
  }

  /** @param {Turn} turn */
  _cancelTurn(turn) {
    if (turn.status === 'ended') return;
    if (turn.id) return this.cancel(turn.id);
    turn.isStopped = true; // sent, but not confirmed as stored: stopped as soon as its id is known
    if (turn._isSent) return;
    this.#unaccepted.delete(/** @type {string} */ (turn.clientMessageId));
    const frame = { type: 'assistant_message', token: '', is_final: true, finish_reason: 'cancelled' };
    turn._end('cancelled');
    this.#emit('final', frame, turn);
  }

  // The connection.

  async #open() {
    clearTimeout(this.#reconnectTimer);
    const connection = ++this.#connection;
    this.#setState({ state: 'connecting' });
    this.#watchLine(CONNECT_LIMIT_MS);
    this.#isOverHttp = this.#mayUseHttp && this.#failedSockets >= SOCKETS_BEFORE_HTTP;
    if (this.#isOverHttp) this.#failedSockets--; // the next opening is a socket's, and if that fails one over HTTP again
    try {
      const HttpSocket = this.#isOverHttp ? await loadHttpSocket() : null;
      const ticket = HttpSocket ? null : await this.#ticket?.();
      if (connection !== this.#connection) return;
      const url = this.#urlWithCursor();
      const subprotocols = ticket ? [SUBPROTOCOL, `gateway.ticket.${base64url(ticket)}`] : [SUBPROTOCOL];
      const socket = HttpSocket ? new HttpSocket(url, [], this.#ticket) : new this.#WebSocket(url, subprotocols);
      this.#listen(socket, connection);
    } catch (error) {
      if (connection === this.#connection) this.#lost({ code: 'connect_failed', content: String(error) });
    }
  }

  /** @param {any} socket @param {number} connection */
  #listen(socket, connection) {
    this.#socket = socket;
    socket.onmessage = (/** @type {{data: unknown}} */ { data }) => {
      if (connection === this.#connection) this.#receive(data);
    };
    socket.onerror = () => {}; // `close` follows; the class of `ws` throws where this is not heard
    socket.onclose = (/** @type {{code: number}} */ { code }) => {
      if (connection === this.#connection) this.#closed(code);
    };
  }

  #urlWithCursor() {
    let url = this.#url;
    if (this.#epoch !== null) url = withParameter(url, 'epoch', this.#epoch);
    if (this.#offset !== null) url = withParameter(url, 'offset', String(this.#offset));
    return url;
  }

  /** @param {number} closeCode */
  #closed(closeCode) {
    const code = FINAL_CLOSE_CODES.get(closeCode);
    const isFirstAnswer = this.#isOverHttp && !this.#hasHttpAnswered;
    if (closeCode === 1009) this.#refuseTooLarge();
    this.#countOpening();
    if (code && isFirstAnswer) this.#hasHttpAnswered = true; // one more socket: a policy may admit sockets and no HTTP
    if (code && !isFirstAnswer) this.#end({ code, content: 'The server closed the connection.', closeCode });
    else this.#lost({ code: code ?? (closeCode === 4408 ? 'idle' : 'line_lost'), closeCode });
  }

  /** Count a socket that ends without having been opened. */
  #countOpening() {
    if (!this.#isOverHttp && !this.#openedAt) this.#failedSockets++;
  }

  /** @param {Frame} frame the server's `disconnect` */
  #disconnected({ code, content, reconnect, delay_ms }) {
    if (reconnect) this.#lost({ code, content }, delay_ms);
    else this.#end({ code, content });
  }

  /**
   * The connection is lost: reconnect with the cursor.
   *
   * @param {Partial<StateInfo>} why
   * @param {number} [askedDelayMs] the delay that the server asked for, or 0 if this side closed
   */
  #lost(why, askedDelayMs) {
    const now = Date.now();
    const isSleep = why.code === 'idle' && !this.#unaccepted.size && !this.#turns.size;
    if (this.#openedAt && now - this.#openedAt >= STABLE_MS) this.#attempt = 0;
    let delayMs = askedDelayMs ?? 0;
    if (askedDelayMs === undefined || this.#attempt > 0) delayMs = Math.max(delayMs, backoffMs(this.#attempt));
    this.#attempt++;
    this.#hangUp();
    this.#notBefore = now + (askedDelayMs ?? 0);
    this.#setState({ ...why, state: 'waiting', delayMs: isSleep ? null : delayMs, attempt: this.#attempt });
    if (!isSleep && this.#state.state === 'waiting') this.#reconnectTimer = setTimeout(() => this.#open(), delayMs);
  }

  /** @param {Partial<StateInfo>} why */
  #end(why) {
    if (this.#state.state === 'closed') return;
    clearTimeout(this.#reconnectTimer);
    globalThis.removeEventListener?.('online', this.#onOnline);
    globalThis.removeEventListener?.('offline', this.#onOffline);
    globalThis.document?.removeEventListener('visibilitychange', this.#onVisible);
    this.#hangUp();
    this.#setState({ ...why, state: 'closed' });
    for (const turn of this.#unaccepted.values()) this.#refuse(turn, why.code, why.content);
    for (const turn of this.#turns.values()) this.#fail(turn, why.code, why.content);
    this.#failReadings(why.code, why.content);
    this.#cancels.clear();
  }

  #hangUp() {
    this.#connection++;
    this.#openedAt = 0;
    clearTimeout(this.#lineTimer);
    this.#socket?.close();
    this.#socket = null;
  }

  #onOnline = () => {
    if (this.#state.state === 'waiting') this.wake();
    else this.#lost({ code: 'network_changed' }, 0); // the old connection may look open for minutes
  };

  #onOffline = () => {
    // The connection is dead; its silence would show that only a minute later. If it is not, the next one opens at once.
    if (this.#state.state === 'open') this.#lost({ code: 'network_changed' }, 0);
  };

  #onVisible = () => {
    if (globalThis.document.hidden) return;
    this.wake();
    if (this.#state.state === 'open') this.#checkLine(); // timers stop while the machine sleeps
  };

  /** @param {number} limitMs 0: no limit */
  #watchLine(limitMs) {
    this.#lastFrameAt = Date.now();
    this.#silenceLimitMs = limitMs;
    this.#checkLine();
  }

  #checkLine() {
    clearTimeout(this.#lineTimer);
    if (!this.#silenceLimitMs) return;
    const restMs = this.#lastFrameAt + this.#silenceLimitMs - Date.now();
    if (restMs > 0) {
      this.#lineTimer = setTimeout(() => this.#checkLine(), restMs);
      return;
    }
    if (this.#socket) this.#countOpening(); // without one, the ticket did not come
    this.#lost({ code: 'line_dead' }, this.#openedAt ? 0 : undefined);
  }

  // Frames from the server.

  /** @param {unknown} data */
  #receive(data) {
    const frame = parseFrame(data);
    if (!frame) return;
    this.#lastFrameAt = Date.now();
    if (frame.type === 'welcome') this.#receiveWelcome(frame);
    else if (frame.type === 'snapshot') this.#receiveSnapshot(frame);
    else if (frame.type === 'accepted') this.#receiveAccepted(frame);
    else if (frame.type === 'cancel_ack') this.#receiveCancelAck(frame);
    else if (frame.type === 'ping') this.#receivePing(frame);
    else if (frame.type === 'disconnect') this.#receiveDisconnect(frame);
    else if (Number.isInteger(frame.offset)) this.#receiveLogFrame(frame);
    else if (frame.type === 'history') this.#receiveHistory(frame);
    else if (frame.type === 'error') this.#receiveRefusal(frame);
    else if (frame.type === 'notice') this.#emit('notice', frame, null);
  }

  /** @param {Frame} frame */
  #receiveWelcome(frame) {
    this.#welcome = frame;
    this.#activeId = frame.active?.turn_id ?? null;
    this.#openedAt = Date.now();
    if (frame.after !== null && (frame.epoch !== this.#epoch || this.#offset === null)) {
      this.#epoch = frame.epoch;
      this.#offset = frame.after;
    }
    const live = [this.#activeId, ...(frame.queued ?? [])];
    for (const turn of this.#turns.values()) turn._isOver = !live.includes(turn.id);
    this.#watchLine((frame.heartbeat_seconds ?? 0) * 1000 * SILENT_HEARTBEATS);
    this.#hasHttpAnswered = this.#isOverHttp;
    if (!this.#isOverHttp) this.#failedSockets = 0;
    this.#state = this.#isOverHttp ? { state: 'open', isOverHttp: true } : { state: 'open' };
    for (const turn of this.#unaccepted.values()) this.#sendTurn(turn);
    for (const turnId of this.#cancels) this.#transmit({ type: 'cancel', turn_id: turnId });
    this.#pending.welcome(frame);
    for (const reading of this.#readings.values()) reading.isAsked = false;
    this.#askHistory();
    this.#emit('state', this.#state);
    this.#emit('welcome', frame);
    this.#emit('pending', this.#pending.list);
  }

  /** @param {Frame} frame */
  #receiveSnapshot(frame) {
    this.#epoch = frame.epoch;
    this.#offset = frame.offset;
    this.#snapshot = frame;
    for (const turn of this.#turns.values()) if (turn._isOver && turn.id !== frame.turn_id) this.#forget(turn);
    if (frame.turn_id) this.#showSnapshot(frame, this.#turn(frame.turn_id));
    else this.#emit('snapshot', frame, null);
    const others = [...this.#turns.keys()].filter((id) => id !== frame.turn_id);
    if (this.#welcome?.after !== null && others.length) this.#lost({ code: 'gap' }, 0); // a new welcome lists them
  }

  /** @param {Frame} frame @param {Turn} turn */
  #showSnapshot(frame, turn) {
    this.#begin(turn);
    if (!turn.isStopped) turn._show(frame.content ?? '');
    this.#emit('snapshot', frame, turn);
    if (frame.finish_reason) this.#endTurn(turn, terminalFrame(frame));
  }

  /** @param {Frame} frame */
  #receiveLogFrame(frame) {
    const last = this.#offset ?? 0;
    if (frame.offset <= last) return; // seen already
    const isToken = frame.type === 'assistant_message'; // other kinds may have a `from_offset` of their own
    if (((isToken && frame.from_offset) || frame.offset) !== last + 1) return this.#lost({ code: 'gap' }, 0);
    this.#offset = frame.offset;
    this.#snapshot = null;
    const turn = this.#turn(frame.turn_id, frame.client_message_id);
    if (turn.status !== 'running') this.#begin(turn);
    if (this.#pending.take(frame)) this.#emit('pending', this.#pending.list);
    if (frame.type === 'error' || (isToken && frame.is_final)) this.#endTurn(turn, frame);
    else if (isToken) this.#receiveToken(frame, turn);
    else if (frame.type === 'pending_resolved') this.#emit('pending_resolved', frame, turn);
    else if (frame.type !== 'user_message') this.#receiveEvent(frame, turn);
    else this.#emit('user_message', frame, turn);
  }

  /** @param {Frame} frame @param {Turn} turn */
  #receiveToken(frame, turn) {
    if (turn.isStopped) return;
    turn._show(turn.text + (frame.token ?? ''));
    this.#emit('token', frame, turn);
  }

  /** @param {Frame} frame @param {Turn} turn */
  #receiveEvent(frame, turn) {
    turn.parts = withEvent(turn.parts, frame);
    this.#emit(frame.type === 'notice' ? 'notice' : 'event', frame, turn);
  }

  /** @param {Frame} frame */
  #receiveAccepted(frame) {
    const turn = this.#unaccepted.get(frame.client_message_id);
    if (turn) {
      this.#accept(turn, frame.turn_id);
      turn.status = frame.status === 'running' ? 'running' : 'queued';
      turn.position = frame.position ?? null;
      turn._isOver = frame.status === 'ended';
    }
    this.#emit('accepted', frame, turn ?? this.#turns.get(frame.turn_id) ?? null);
    const snapshot = this.#snapshot;
    if (turn && snapshot && snapshot.turn_id === turn.id) this.#showSnapshot(snapshot, turn);
  }

  /** @param {Frame} frame */
  #receiveCancelAck(frame) {
    const isLive = frame.status === 'cancelling' || frame.status === 'queued';
    this.#cancels.delete(frame.turn_id);
    if (frame.turn_id && isLive) this.#turn(frame.turn_id).isStopped = true;
    const turn = this.#turns.get(frame.turn_id) ?? null;
    if (turn && !isLive) turn._isOver = true;
    this.#emit('cancel_ack', frame, turn);
  }

  /** @param {Frame} frame */
  #receivePing(frame) {
    if (frame.epoch !== this.#epoch || frame.offset > (this.#offset ?? -1)) return this.#lost({ code: 'gap' }, 0);
    for (const turn of this.#unaccepted.values()) this.#sendTurn(turn);
    for (const turn of this.#turns.values()) if (turn._isOver) this.#forget(turn);
    const isBusy = this.#turns.size || this.#unaccepted.size || this.#readings.size;
    if (this.#isOverHttp && !isBusy && Date.now() - this.#openedAt >= HTTP_MS) this.#lost({ code: 'socket_tried' }, 0);
  }

  /** @param {Frame} frame */
  #receiveDisconnect(frame) {
    this.#emit('disconnect', frame);
    if (!this.#isOverHttp) this.#failedSockets = 0; // refused, but opened
    this.#disconnected(frame);
  }

  /** @param {Frame} frame */
  #receiveHistory({ client_message_id, turns, next, incomplete }) {
    this.#readings.get(client_message_id)?.page.resolve({ turns, next, incomplete });
    this.#readings.delete(client_message_id);
  }

  /** @param {Frame} frame */
  #receiveRefusal(frame) {
    const reading = this.#readings.get(frame.client_message_id);
    if (reading) {
      this.#readings.delete(frame.client_message_id);
      return reading.page.reject(new GatewayError(frame));
    }
    const turn = this.#unaccepted.get(frame.client_message_id);
    if (turn) this.#refuse(turn, frame.code, frame.content, frame);
    else this.#emit('refused', frame, null);
  }

  // Turns.

  /**
   * The turn of that id; a new one if it is not known.
   *
   * @param {string} turnId
   * @param {string} [clientMessageId]
   */
  #turn(turnId, clientMessageId = '') {
    const known = this.#turns.get(turnId);
    return known ?? this.#accept(this.#unaccepted.get(clientMessageId) ?? new Turn(this), turnId);
  }

  /** @param {Turn} turn @param {string} turnId */
  #accept(turn, turnId) {
    turn.id = turnId;
    turn.status = 'queued';
    this.#turns.set(turnId, turn);
    if (turn.clientMessageId) this.#unaccepted.delete(turn.clientMessageId);
    turn._message = null;
    turn._accepted.resolve(turnId);
    if (turn.isStopped) this.cancel(turnId);
    return turn;
  }

  /** @param {Turn} turn */
  #begin(turn) {
    turn.status = 'running';
    turn.position = null;
    this.#activeId = turn.id;
  }

  /** @param {Turn} turn @param {Frame} frame its terminal frame */
  #endTurn(turn, frame) {
    const id = /** @type {string} */ (turn.id);
    this.#turns.delete(id);
    this.#cancels.delete(id);
    if (this.#activeId === id) this.#activeId = null;
    const error = frame.type === 'error' ? new GatewayError(frame) : null;
    turn._end(error ? 'error' : (frame.finish_reason ?? 'stop'), error);
    this.#emit(error ? 'error' : 'final', frame, turn);
  }

  /** Drop a turn whose end is no longer kept; one that the caller waits for fails. @param {Turn} turn */
  #forget(turn) {
    if (turn.clientMessageId || turn.status === 'running') {
      this.#fail(turn, 'replay_gap', 'The rest of this answer is no longer available. Send your message again.');
    } else this.#turns.delete(/** @type {string} */ (turn.id));
  }

  /** @param {Turn} turn @param {string} [code] @param {string} [content] */
  #fail(turn, code, content) {
    this.#endTurn(turn, { type: 'error', code, content, turn_id: turn.id });
  }

  /** @param {Turn} turn @param {string} [code] @param {string} [content] @param {Frame} [frame] */
  #refuse(turn, code, content, frame) {
    const refusal = frame ?? { type: 'error', code, content, client_message_id: turn.clientMessageId };
    this.#unaccepted.delete(/** @type {string} */ (turn.clientMessageId));
    turn._end('error', new GatewayError(refusal));
    this.#emit('refused', refusal, turn);
  }

  #refuseTooLarge() {
    for (const turn of this.#unaccepted.values()) {
      if (turn._isSent) this.#refuse(turn, 'message_too_large', 'This message is too long.');
    }
  }

  // Frames to the server.

  /** @param {Turn} turn */
  #sendTurn(turn) {
    if (this.#state.state !== 'open') return;
    const text = JSON.stringify(turn._message);
    const maxBytes = this.#welcome?.max_message_bytes ?? Infinity;
    if (new TextEncoder().encode(text).length > maxBytes) {
      return this.#refuse(turn, 'message_too_large', `This message is too long (limit ${sizeOf(maxBytes)}).`);
    }
    turn._isSent = true;
    this.#socket.send(text);
  }

  #askHistory() {
    if (this.#welcome && this.#welcome.history === undefined) {
      return this.#failReadings('bad_request', 'This gateway offers no history.');
    }
    if (this.#state.state !== 'open') return;
    for (const reading of this.#readings.values()) {
      if (!reading.isAsked) this.#transmit(reading.message);
      reading.isAsked = true;
    }
  }

  /** @param {string} [code] @param {string} [content] */
  #failReadings(code, content) {
    for (const { page } of this.#readings.values()) page.reject(new GatewayError({ code, content }));
    this.#readings.clear();
  }

  /** @param {Frame} frame */
  #transmit(frame) {
    if (this.#state.state === 'open') this.#socket.send(JSON.stringify(frame));
  }

  // Events.

  /** @param {StateInfo} info */
  #setState(info) {
    this.#state = info;
    this.#emit('state', info);
  }

  /** @param {keyof GatewayEvents} kind @param {unknown[]} details */
  #emit(kind, ...details) {
    for (const handler of this.#handlers.get(kind) ?? []) {
      try {
        handler(...details);
      } catch (error) {
        reportHandlerError(error);
      }
    }
  }
}

/** Report an error to the page as uncaught; without a page, an uncaught error would end the process. @param {unknown} error */
function reportHandlerError(error) {
  if (globalThis.document) reportError(error);
  else console.error(error);
}

async function loadHttpSocket() {
  return (await import('./gateway-http-socket.js')).HttpSocket;
}

/** Can a response be read as it arrives? In React Native it is complete before any of it can be read. */
function canReadStreams() {
  return 'body' in (globalThis.Response?.prototype ?? {});
}

/** The address, changed as a text: the `URL` of React Native has no setters. @param {ConnectOptions} options */
function socketUrl({ url, base, sessionId, coalesce = true }) {
  if (!url && !SESSION_ID.test(sessionId ?? '')) throw new TypeError('sessionId: 1 to 128 of A-Z a-z 0-9 . _ : ~ @ -');
  const given = url ?? `${(base ?? '').replace(/\/$/, '')}/ws/${encodeURIComponent(sessionId ?? '')}/`;
  const page = /^\w+:\/\//.test(given) ? undefined : globalThis.location?.href ?? '';
  if (page === '') throw new TypeError('There is no page here: pass base, such as https://chat.example.com');
  const target = new URL(given, page).href.replace(/#.*/s, '').replace(/^http/, 'ws');
  return coalesce ? withParameter(target, 'coalesce', '1') : target;
}

/** Set a parameter of an address. @param {string} address @param {string} name @param {string} value */
function withParameter(address, name, value) {
  const [, path, query = ''] = /** @type {RegExpExecArray} */ (/^([^?]*)\??(.*)$/s.exec(address));
  const others = query.split('&').filter((part) => part && part.split('=')[0] !== name);
  return `${path}?${[...others, `${name}=${encodeURIComponent(value)}`].join('&')}`;
}

/** @param {unknown} data @returns {Frame | null} `null`: not a frame, so it is ignored */
function parseFrame(data) {
  try {
    const frame = JSON.parse(/** @type {string} */ (data));
    return typeof frame?.type === 'string' ? frame : null;
  } catch {
    return null;
  }
}

/** The terminal frame of the ended turn in a snapshot. @param {Frame} snapshot @returns {Frame} */
function terminalFrame({ turn_id, finish_reason, error }) {
  if (finish_reason === 'error') return { type: 'error', turn_id, ...error };
  return { type: 'assistant_message', token: '', is_final: true, turn_id, finish_reason };
}

/** Full jitter: a random delay up to a limit that doubles, so that clients do not all reconnect at once. @param {number} attempt */
function backoffMs(attempt) {
  return Math.random() * Math.min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** Math.min(attempt, 10));
}

/** @param {string} text */
function base64url(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/**
 * @template T
 * @typedef {{promise: Promise<T>, resolve: (value: T) => void, reject: (error: unknown) => void}} Deferred
 */

/** @template T @returns {Deferred<T>} */
function deferred() {
  /** @type {(value: T) => void} */
  let resolve = () => {};
  /** @type {(error: unknown) => void} */
  let reject = () => {};
  const promise = new Promise((onDone, onError) => {
    resolve = onDone;
    reject = onError;
  });
  promise.catch(() => {}); // the caller may ignore it
  return { promise, resolve, reject };
}
