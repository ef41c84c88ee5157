/**
 * The parts of an answer in order of arrival: text, reasoning, tool calls, other events.
 *
 * @module chat-parts
 */

import { make } from './chat-dom.js';
import { TextView } from './chat-text.js';
import { ToolCard, valueElement } from './chat-tool.js';

/** @typedef {import('./chat-tool.js').Decision} Decision */
/** @typedef {Record<string, any> & {type: string}} AgentEvent `any`: its fields depend on its type */

const OWN_FIELDS = ['type', 'turn_id', 'offset', 'from_offset', 'client_message_id']; // the gateway's own, of no use to a reader

export class Parts {
  text = '';
  /** @type {{start: number, view: TextView}[]} the pieces of the text, each from its start to that of the next */
  #pieces = [];
  /** @type {Map<unknown, ToolCard>} by call id */
  #cards = new Map();
  /** @type {TextView | null} reasoning that may go on */
  #reasoning = null;
  #isCut = true;
  #onDecide;

  /** @param {HTMLElement} element @param {(callId: string, decision: Decision) => void} onDecide */
  constructor(element, onDecide) {
    this.element = element;
    this.#onDecide = onDecide;
  }

  get pieces() {
    return this.#pieces.map(({ view }) => view);
  }

  /** @param {string} text the whole text of the answer so far @param {boolean} isWhole */
  showText(text, isWhole) {
    if (this.#isCut && text.length > this.text.length) this.#addPiece();
    this.text = text;
    this.#pieces.forEach(({ start, view }, index) => {
      const next = this.#pieces[index + 1];
      const piece = text.slice(start, next?.start);
      if (isWhole || piece !== view.text) view.show(piece, isWhole || next !== undefined);
    });
  }

  #addPiece() {
    this.#endReasoning();
    this.#isCut = false;
    const view = new TextView();
    this.#pieces.push({ start: this.text.length, view });
    this.element.append(view.element);
  }

  /** The following text is a separate piece. */
  #cut() {
    const last = this.#pieces[this.#pieces.length - 1];
    if (!this.#isCut && last) last.view.show(this.text.slice(last.start), true);
    this.#isCut = true;
  }

  /** @param {AgentEvent} event that follows the text so far */
  addEvent(event) {
    this.#cut();
    if (event.type === 'reasoning' && typeof event.token === 'string') return this.#addReasoning(event.token);
    this.#endReasoning();
    if (event.type === 'message_start') return;
    if (event.type === 'tool_call') this.#addCall(event);
    else if (event.type === 'tool_result') this.#addResult(event);
    else this.#addOther(event);
  }

  /** @param {unknown} callId */
  card(callId) {
    return this.#cards.get(callId);
  }

  cards() {
    return /** @type {Map<string, ToolCard>} */ (this.#cards);
  }

  end() {
    this.#endReasoning();
    for (const card of this.#cards.values()) card.end();
  }

  /** @param {string} token */
  #addReasoning(token) {
    if (!this.#reasoning) {
      this.#reasoning = new TextView();
      const details = make('details', 'reasoning');
      details.append(make('summary', '', 'Thinking…'), this.#reasoning.element);
      this.element.append(details);
    }
    this.#reasoning.show(this.#reasoning.text + token, false);
  }

  #endReasoning() {
    const summary = this.#reasoning?.element.parentElement?.firstElementChild;
    if (!this.#reasoning || !summary) return;
    this.#reasoning.show(this.#reasoning.text, true);
    summary.textContent = 'Reasoning';
    this.#reasoning = null;
  }

  /** @param {AgentEvent} event */
  #addCall(event) {
    const call = event.tool_call ?? event; // a question may be about another call
    const card = this.#addCard(event.call_id ?? {}, call.tool_name ?? call.name);
    card.addArguments(call.arguments ?? call.args);
    if (event.requires_approval === true) card.wait((decision) => this.#onDecide(event.call_id, decision));
  }

  /** @param {AgentEvent} event */
  #addResult(event) {
    const card = this.#cards.get(event.call_id) ?? this.#addCard(event.call_id ?? {}, event.tool_name ?? event.name);
    if (event.error !== undefined && event.error !== null) card.fail(event.error);
    else card.finish(event.result ?? event.content);
  }

  /** @param {unknown} callId @param {unknown} name */
  #addCard(callId, name) {
    const card = new ToolCard(typeof name === 'string' && name ? name : 'tool');
    this.#cards.set(callId, card);
    this.element.append(card.element);
    return card;
  }

  /** @param {AgentEvent} event */
  #addOther(event) {
    const fields = Object.entries(event).filter(([name]) => !OWN_FIELDS.includes(name));
    const details = make('details', 'event');
    details.append(make('summary', '', summaryOf(event)), valueElement('Fields', Object.fromEntries(fields)));
    const last = this.element.lastElementChild;
    const row = last?.matches('.events') ? last : make('div', 'events');
    row.append(details);
    if (row !== last) this.element.append(row);
  }
}

/** @param {AgentEvent} event */
function summaryOf(event) {
  if (event.type === 'usage' && Number.isInteger(event.total_tokens)) return `${event.total_tokens.toLocaleString('en')} tokens used`;
  return event.type.replaceAll('_', ' ');
}
