/**
 * One message and the answer to it, as elements. It knows frames' texts, not sockets.
 *
 * @module chat-turn
 */

import { make, makeButton } from './chat-dom.js';
import { showText } from './chat-text.js';

const COPIED_MS = 2000;

/** @typedef {{type: string, token?: unknown, call_id?: unknown, tool_name?: unknown}} AgentEvent */

/** A message, the answer to it, and how it ended. */
export class TurnView {
  text = '';
  announced = 0;
  /** @type {Map<unknown, unknown>} by call id */
  #toolNames = new Map();

  /** @param {string | null} message `null`: not kept by the server any more */
  constructor(message) {
    this.message = message;
    this.element = make('li', 'turn');
    this.answer = make('div', 'answer');
    this.status = make('p', 'status');
    this.notes = make('div', 'notes');
    this.events = make('div', 'events');
    this.answer.setAttribute('role', 'group');
    this.answer.setAttribute('aria-label', 'Answer');
    if (message !== null) this.element.append(messageElement(message));
    this.element.append(this.status, this.events, this.answer, this.notes);
  }

  /** @param {string} words @param {() => void} [onSkip] */
  wait(words, onSkip) {
    this.element.dataset.phase = 'waiting';
    this.status.textContent = words;
    if (onSkip) this.status.append(makeButton('Skip', onSkip));
  }

  begin() {
    this.element.dataset.phase = 'running';
    this.status.textContent = '';
    this.notes.textContent = '';
    this.answer.setAttribute('aria-busy', 'true');
  }

  /** @param {string} text the whole answer so far */
  show(text) {
    this.text = text;
    showText(this.answer, text);
  }

  /** @param {string} [words] how it ended, where that needs a word */
  end(words = '') {
    this.element.dataset.phase = 'ended';
    this.status.textContent = '';
    this.answer.removeAttribute('aria-busy');
    if (words) this.note(words);
    if (this.text && navigator.clipboard) this.notes.append(this.#copyButton());
  }

  /** @param {string} words what happened, and what to do @param {HTMLElement} [button] to do it */
  fail(words, button) {
    this.end();
    const box = make('div', 'error');
    box.append(make('p', '', words));
    if (button) box.append(button);
    this.notes.prepend(box);
  }

  /** @param {string} words */
  note(words) {
    this.notes.append(make('p', 'note', words));
  }

  /** @param {AgentEvent} frame an event of the agent's own */
  addEvent(frame) {
    if (frame.type === 'message_start') return; // the text goes on
    if (frame.type === 'reasoning' && typeof frame.token === 'string') this.#addReasoning(frame.token);
    else this.#addFoldedEvent(this.#summaryOf(frame), make('pre', '', JSON.stringify(frame, null, 2)));
  }

  /** @param {string} token is joined to those right before it */
  #addReasoning(token) {
    const last = this.events.lastElementChild;
    const isOpen = last?.lastElementChild?.classList.contains('reasoning');
    const text = isOpen ? last?.lastElementChild : this.#addFoldedEvent('reasoning', make('p', 'reasoning'));
    text?.append(token);
  }

  /** @param {string} summary @param {HTMLElement} content */
  #addFoldedEvent(summary, content) {
    const details = make('details', 'event');
    details.append(make('summary', '', summary), content);
    this.events.append(details);
    return content;
  }

  /** @param {AgentEvent} frame */
  #summaryOf(frame) {
    const kind = frame.type.replaceAll('_', ' ');
    if (frame.type === 'tool_call' && frame.tool_name) this.#toolNames.set(frame.call_id, frame.tool_name);
    const name = frame.tool_name ?? this.#toolNames.get(frame.call_id);
    return name ? `${kind}: ${name}` : kind;
  }

  #copyButton() {
    const button = makeButton('Copy', async () => {
      await navigator.clipboard.writeText(this.text);
      button.textContent = 'Copied';
      setTimeout(() => (button.textContent = 'Copy'), COPIED_MS);
    });
    button.classList.add('copy');
    return button;
  }
}

/** @param {string} text */
function messageElement(text) {
  const element = make('div', 'message', text);
  element.dir = 'auto';
  element.setAttribute('role', 'group');
  element.setAttribute('aria-label', 'Message');
  return element;
}
