/**
 * Translates the AI SDK's messages into the gateway's, and the frames of a turn into the chunks of a UI message stream. Pure.
 *
 * It does the same as the gateway over HTTP (`relay/adapters/ai_sdk.py`); one file of examples tests both.
 *
 * @module ui-message-chunks
 */

/** @typedef {import('./gateway-chat-transport.js').Chunk} Chunk */
/** @typedef {import('./gateway-client.js').Turn} Turn */
/** @typedef {Record<string, any> & {type: string}} Frame any frame; `any`: its fields depend on its type */
/** @typedef {{hasApprovals?: boolean, continues?: boolean}} ChunkOptions see {@link ChunkTranslator} */
/** @typedef {{write: (chunk: Chunk) => void, end: (error: Error | null) => void}} Reader */

/** The reasons that the AI SDK knows; anything else is "other". */
const FINISH_REASONS = new Map(
  /** @type {const} */ ([
    ['stop', 'stop'],
    ['length', 'length'],
    ['content_filter', 'content-filter'],
    ['content-filter', 'content-filter'],
    ['tool_calls', 'tool-calls'],
    ['tool-calls', 'tool-calls'],
    ['interrupt', 'tool-calls'],
  ]),
);

/** The chunks of one turn, for chats that read them from the first one. */
export class Answer {
  #translator;
  /** @type {Chunk[]} with adjacent deltas joined */
  #chunks = [];
  /** @type {Set<Reader>} */
  #readers = new Set();
  /** @type {Error | null} */
  #error = null;
  /** @type {Turn | null} */
  turn = null;
  /** @type {any} the user's message that it answers; `null` for other types */
  question = null;
  isRead = false;
  isOver = false;

  /** @param {string | null} turnId `null`: not known yet @param {ChunkOptions} options */
  constructor(turnId, options) {
    this.turnId = turnId;
    this.#translator = new ChunkTranslator(options);
  }

  /** @param {Frame} frame */
  write(frame) {
    const message = frame.type === 'snapshot' ? frame.user_message : frame;
    if (message?.type === 'user_message') this.question = questionOf(message, frame.turn_id);
    for (const chunk of this.#translator.chunks(frame)) {
      for (const reader of this.#readers) reader.write(chunk);
      this.#keep(chunk);
    }
  }

  /** @param {Error | null} error */
  end(error) {
    if (this.isOver) return;
    this.isOver = true;
    this.#error = error;
    for (const reader of this.#readers) reader.end(error);
    this.#readers.clear();
  }

  /** @param {Reader} reader */
  attach(reader) {
    this.isRead = true;
    for (const chunk of this.#chunks) reader.write(chunk);
    if (this.isOver) reader.end(this.#error);
    else this.#readers.add(reader);
  }

  /** @param {Reader} reader */
  detach(reader) {
    this.#readers.delete(reader);
  }

  /** @param {any} chunk */
  #keep(chunk) {
    /** @type {any} */
    const last = this.#chunks.at(-1);
    const isSame = chunk.delta !== undefined && last?.type === chunk.type && last.id === chunk.id;
    if (isSame) this.#chunks[this.#chunks.length - 1] = { ...chunk, delta: last.delta + chunk.delta };
    else this.#chunks.push(chunk);
  }
}

/**
 * The gateway's message for the last message of a chat, as the gateway would read it from a POST.
 *
 * @param {any} message
 * @param {object} extra
 * @param {boolean} [hasApprovals] is an approval a separate decision?
 */
export function messageOf(message, extra, hasApprovals = false) {
  const { trigger } = /** @type {{trigger?: string}} */ (extra);
  const own = { clientMessageId: undefined, onBusy: undefined };
  if (trigger === 'regenerate-message') return { ...extra, ...own, type: trigger, message, content: undefined };
  if (message?.role === 'assistant') {
    const decision = hasApprovals ? decisionOf(message) : null;
    return { ...extra, ...own, content: undefined, ...(decision ?? { type: 'ui_message', message }) };
  }
  const isText = (/** @type {any} */ part) => part.type === 'text';
  const parts = message.parts.filter((/** @type {any} */ part) => !isText(part));
  const content = message.parts.filter(isText).map((/** @type {any} */ { text }) => text).join('');
  const more = parts.length ? { parts } : {};
  return { ...extra, ...more, ...own, type: 'user_message', clientMessageId: message.id, content };
}

/** A person's decisions in the last step of an assistant's message; `null` without one. @param {any} message */
function decisionOf({ id, parts }) {
  const step = parts.slice(parts.findLastIndex((/** @type {any} */ { type }) => type === 'step-start') + 1);
  const isDecided = (/** @type {any} */ { state, approval }) => state === 'approval-responded' && approval?.id;
  const decided = step.filter(isDecided);
  if (!decided.length) return null;
  const decisions = decided.map((/** @type {any} */ { approval: { id: callId, approved, reason } }) => ({
    call_id: callId, decision: approved === true ? 'approve' : 'reject', ...(reason ? { reason } : {}),
  }));
  const known = { id, calls: decided.map((/** @type {any} */ { toolCallId }) => toolCallId) };
  return { type: 'hitl_decision', ui_message: known, ...(decisions.length > 1 ? { decisions } : decisions[0]) };
}

/** The user's message of a turn, for a chat. @param {Frame} message @param {string} turnId */
function questionOf({ content, client_message_id, parts = [] }, turnId) {
  const text = content ? [{ type: 'text', text: content }] : [];
  return { id: client_message_id ?? `${turnId}:user`, role: 'user', parts: [...text, ...parts] };
}

/** Writes the chunks of one turn. */
export class ChunkTranslator {
  #hasApprovals;
  #continues;
  #turnId = '';
  #hasStarted = false;
  /** @type {'' | 'text' | 'reasoning'} the open block */
  #open = '';
  #blocks = 0;
  #textLength = 0;
  #called = new Set();
  #answered = new Set(); // calls in the page's message that is being continued

  /**
   * @param {ChunkOptions} options `hasApprovals`: does the page know `tool-approval-request`? `ai` 5 discards a turn with
   *   one. `continues`: does a turn that answers a question continue the message in which the agent asked?
   */
  constructor({ hasApprovals = false, continues = false } = {}) {
    this.#hasApprovals = hasApprovals;
    this.#continues = continues;
  }

  /** The chunks for the turn's next frame, in the form of `gateway.v1`. @param {Frame} frame @returns {Chunk[]} */
  chunks(frame) {
    if (frame.type === 'error') return [...this.#closed(), { type: 'error', errorText: frame.content }];
    if (frame.type === 'snapshot') return this.#snapshot(frame);
    if (frame.type === 'assistant_message') return frame.is_final ? this.#final(frame) : this.#text(frame.token);
    if (!this.#hasStarted) return this.#start(frame); // a message of any kind is the first
    const { type, turn_id, offset, ...fields } = frame;
    if (type === 'notice') return [...this.#closed(), { type: 'data-notice', data: fields, transient: true }];
    return this.#event(type, fields);
  }

  /** @param {Frame} frame @returns {Chunk[]} */
  #start({ turn_id, ui_message: known }) {
    this.#hasStarted = true;
    this.#turnId = turn_id;
    const continues = this.#continues && Array.isArray(known?.calls);
    if (continues) this.#answered = new Set(known.calls);
    return [{ type: 'start', messageId: (continues && known.id) || turn_id }, { type: 'start-step' }];
  }

  /** The missing part of the text; on a new connection all of it. @param {Frame} frame @returns {Chunk[]} */
  #snapshot(frame) {
    const started = this.#hasStarted ? [] : this.#start(frame);
    return [...started, ...this.#text((frame.content ?? '').slice(this.#textLength))];
  }

  /** @param {string} delta @returns {Chunk[]} */
  #text(delta) {
    if (!delta) return [];
    this.#textLength += delta.length;
    return [...this.#opened('text'), { type: 'text-delta', id: this.#blockId, delta }];
  }

  /** @param {string} type @param {Record<string, any>} fields @returns {Chunk[]} */
  #event(type, fields) {
    if (type === 'reasoning' && typeof fields.token === 'string') {
      return [...this.#opened('reasoning'), { type: 'reasoning-delta', id: this.#blockId, delta: fields.token }];
    }
    const closed = this.#closed();
    const callId = String(fields.call_id || fields.tool_call_id || '');
    const toolName = String(fields.tool_name || fields.name || '');
    if (type === 'message_start') return closed;
    if (type === 'tool_call' && callId && toolName) return [...closed, ...this.#toolCall(callId, toolName, fields)];
    const isKnown = this.#called.has(callId) || this.#answered.has(callId);
    if (type === 'tool_result' && isKnown) return [...closed, toolOutput(callId, fields)];
    return [...closed, { type: `data-${type}`, data: fields }];
  }

  /** @param {string} toolCallId @param {string} toolName @param {Record<string, any>} fields @returns {Chunk[]} */
  #toolCall(toolCallId, toolName, fields) {
    const asked = fields.requires_approval && this.#hasApprovals;
    const { call_id, tool_call_id } = fields.tool_call ?? {};
    const of = call_id || tool_call_id; // the call that a question with an id of its own is about
    if (asked && this.#called.has(of)) return [approvalRequest(toolCallId, of)];
    if (this.#answered.has(toolCallId) && !fields.requires_approval) return []; // the page would show it twice
    this.#called.add(toolCallId);
    const input = fields.arguments ?? null;
    const call = /** @type {const} */ ({ type: 'tool-input-available', toolCallId, toolName, input, dynamic: true });
    return asked ? [call, approvalRequest(toolCallId, toolCallId)] : [call];
  }

  /** @param {Frame} frame @returns {Chunk[]} */
  #final({ finish_reason = 'stop' }) {
    const closed = this.#closed();
    if (finish_reason === 'cancelled') return [...closed, { type: 'abort', reason: 'cancelled' }];
    const finishReason = FINISH_REASONS.get(finish_reason) ?? 'other';
    return [...closed, { type: 'finish-step' }, { type: 'finish', finishReason }];
  }

  get #blockId() {
    return `${this.#turnId}:${this.#blocks}`;
  }

  /** Open a block, unless it is open. @param {'text' | 'reasoning'} block @returns {Chunk[]} */
  #opened(block) {
    if (this.#open === block) return [];
    const closed = this.#closed();
    this.#open = block;
    return [...closed, { type: `${block}-start`, id: this.#blockId }];
  }

  /** Close the open block. @returns {Chunk[]} */
  #closed() {
    if (!this.#open) return [];
    const end = /** @type {const} */ ({ type: `${this.#open}-end`, id: this.#blockId });
    this.#open = '';
    this.#blocks++;
    return [end];
  }
}

/** @param {string} approvalId @param {string} toolCallId @returns {any} not a chunk that all versions know */
function approvalRequest(approvalId, toolCallId) {
  return { type: 'tool-approval-request', approvalId, toolCallId };
}

/** @param {string} toolCallId @param {Record<string, any>} fields @returns {Chunk} */
function toolOutput(toolCallId, { error, result }) {
  if (error === null || error === undefined) {
    return { type: 'tool-output-available', toolCallId, output: result ?? null, dynamic: true };
  }
  const errorText = typeof error === 'string' ? error : JSON.stringify(error);
  return { type: 'tool-output-error', toolCallId, errorText, dynamic: true };
}
