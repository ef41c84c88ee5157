/**
 * The conversation as elements: one `TurnView` for each message and its answer. It knows frames' texts, not sockets.
 *
 * @module chat-view
 */

import { showText } from './chat-text.js';

const MAX_TURN_VIEWS = 300; // older ones leave the page; the log may still hold them
const MAX_ANNOUNCEMENTS = 20;
const COPIED_MS = 2000;

/** @typedef {import('./gateway-client.js').Turn} Turn */
/** @typedef {{type: string, token?: unknown, call_id?: unknown, tool_name?: unknown}} AgentEvent */

/** @param {string} id @returns {any} any element type: the template has it */
export const byId = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function make(tag, className, text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** @param {string} text @param {() => void} onClick */
export function makeButton(text, onClick) {
  const button = /** @type {HTMLButtonElement} */ (make('button', 'small', text));
  button.type = 'button';
  button.addEventListener('click', onClick);
  return button;
}

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

/** The list of turns, and those that wait below it. */
export class Conversation {
  /** @type {Set<TurnView>} */
  #views = new Set();
  /** @type {Set<() => void>} */
  #drawings = new Set();
  #isPinned = true;
  #lastTop = 0;

  constructor() {
    this.turns = byId('turns');
    this.waiting = byId('waiting');
    this.scroller = byId('scroller');
    this.announcer = byId('announcer');
    this.scroller.addEventListener('scroll', () => this.#onScroll(), { passive: true });
    byId('latest').addEventListener('click', () => this.scrollToEnd());
    new ResizeObserver(() => this.follow()).observe(this.scroller);
  }

  get isEmpty() {
    return this.#views.size === 0;
  }

  /** @param {TurnView} view @param {'turns' | 'waiting'} place */
  add(view, place) {
    this[place].append(view.element);
    this.#views.add(view);
    const [oldest] = this.#views;
    if (this.#views.size > MAX_TURN_VIEWS) this.remove(oldest);
    this.follow();
  }

  /** @param {TurnView} view */
  remove(view) {
    view.element.remove();
    this.#views.delete(view);
  }

  /** @param {string} words something about the conversation as a whole */
  note(words) {
    const item = make('li', 'turn');
    item.append(make('p', 'note rule', words));
    this.turns.append(item);
    this.announce(words);
    this.follow();
  }

  /** Do it before the next frame is painted, once however often it is asked for. @param {() => void} drawing */
  draw(drawing) {
    if (this.#drawings.size === 0) requestAnimationFrame(() => this.flush());
    this.#drawings.add(drawing);
  }

  flush() {
    const drawings = [...this.#drawings];
    this.#drawings.clear();
    for (const drawing of drawings) drawing();
    if (drawings.length) this.follow();
  }

  follow() {
    if (this.#isPinned) this.scroller.scrollTop = this.scroller.scrollHeight;
    byId('latest').hidden = this.#isPinned || this.#restBelow() < 80;
  }

  scrollToEnd() {
    this.#isPinned = true;
    this.follow();
  }

  /** Say a text to screen readers, after what they are saying now. @param {string} words */
  announce(words) {
    if (!words.trim()) return;
    this.announcer.append(make('p', '', words));
    if (this.announcer.children.length > MAX_ANNOUNCEMENTS) this.announcer.firstElementChild.remove();
  }

  /** Say what was added to an answer, one paragraph at a time, never a token. @param {TurnView} view @param {boolean} isWhole */
  announceAnswer(view, isWhole) {
    const end = isWhole ? view.text.length : view.text.lastIndexOf('\n') + 1;
    if (end <= view.announced) return;
    this.announce(view.text.slice(view.announced, end));
    view.announced = end;
  }

  #restBelow() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight;
  }

  #onScroll() {
    if (this.scroller.scrollTop < this.#lastTop) this.#isPinned = false; // only a person scrolls up
    if (this.#restBelow() < 8) this.#isPinned = true;
    this.#lastTop = this.scroller.scrollTop;
    byId('latest').hidden = this.#isPinned;
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

/** A button that can be pressed when it is worth trying again. @param {number} retryAfterMs @param {() => void} onRetry */
export function retryButton(retryAfterMs, onRetry) {
  const button = makeButton('Try again', () => {
    button.remove();
    onRetry();
  });
  button.classList.add('retry');
  button.disabled = true;
  setTimeout(() => (button.disabled = false), retryAfterMs);
  return button;
}
