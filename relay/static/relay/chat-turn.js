/**
 * One message and the answer to it, as elements. It knows frames' texts, not sockets.
 *
 * @module chat-turn
 */

import { make, makeButton } from './chat-dom.js';
import { Parts } from './chat-parts.js';
import { Speech } from './chat-speech.js';

const LONG_CHARS = 1500;
const LONG_LINES = 20;

/** @typedef {import('./chat-tool.js').Decision} Decision */
/** @typedef {{decide: (callId: string, decision: Decision) => void, edit: (view: TurnView) => void, repeat: (view: TurnView) => void}} Actions */

export class TurnView {
  /** @type {string | null} */
  id = null;
  /** Its text was there before the page was opened: it is not announced. */
  isSilent = false;
  #actions;
  #speech = new Speech();
  #spokenPieces = 0;
  #when = /** @type {HTMLTimeElement} */ (make('time', 'when'));

  /** @param {string | null} message `null`: none is known @param {Actions} actions */
  constructor(message, actions) {
    this.message = message;
    this.#actions = actions;
    this.element = make('li', 'turn');
    this.answer = make('div', 'answer');
    this.status = make('p', 'status');
    this.notes = make('div', 'notes');
    this.answer.setAttribute('role', 'group');
    this.answer.setAttribute('aria-label', 'Answer');
    this.parts = new Parts(this.answer, actions.decide);
    if (message !== null) this.element.append(this.#when, messageElement(message));
    this.element.append(this.status, this.answer, this.notes);
  }

  get text() {
    return this.parts.text;
  }

  /** @param {Date} moment its start */
  showTime(moment) {
    const isToday = moment.toDateString() === new Date().toDateString();
    this.#when.dateTime = moment.toISOString();
    this.#when.title = moment.toLocaleString();
    this.#when.textContent = isToday ? moment.toLocaleTimeString([], { timeStyle: 'short' }) : moment.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
  }

  /** @param {string} words @param {() => void} [onRemove] */
  wait(words, onRemove) {
    this.element.dataset.phase = 'waiting';
    this.status.textContent = words;
    if (onRemove) this.status.append(makeButton('Remove', onRemove));
  }

  begin() {
    this.element.dataset.phase = 'running';
    this.status.textContent = '';
    this.notes.textContent = '';
    this.answer.setAttribute('aria-busy', 'true');
  }

  /** @param {string} text the whole answer so far */
  show(text) {
    this.parts.showText(text, false);
  }

  /** @param {string} [words] how it ended, if that needs to be said */
  end(words = '') {
    this.#close();
    if (words) this.note(words);
    if (this.text && navigator.clipboard) this.notes.append(smallButton('Copy', 'copy-answer', () => {}));
    if (this.message === null || !this.id) return;
    this.notes.append(smallButton('Regenerate', 'last-only', () => this.#actions.repeat(this)));
    this.status.append(smallButton('Edit', 'edit', () => this.#actions.edit(this)));
  }

  /** @param {string} words what happened, and what to do @param {HTMLElement} [button] to do it */
  fail(words, button) {
    this.#close();
    const box = make('div', 'error');
    box.append(make('p', '', words));
    if (button) box.append(button);
    this.notes.prepend(box);
    if (this.message !== null && this.id) this.status.append(smallButton('Edit', 'edit', () => this.#actions.edit(this)));
  }

  #close() {
    this.parts.showText(this.text, true);
    this.parts.end();
    this.element.dataset.phase = 'ended';
    this.status.textContent = '';
    this.answer.removeAttribute('aria-busy');
  }

  /** @param {string} words */
  note(words) {
    this.notes.append(make('p', 'note', words));
  }

  /** Another turn replaces it: it is folded, and can be opened. */
  replace() {
    if (this.element.classList.contains('replaced')) return;
    this.element.classList.add('replaced');
    const button = smallButton('Show the replaced message', 'unfold', () => {
      const isShown = this.element.classList.toggle('unfolded');
      button.textContent = isShown ? 'Hide the replaced message' : 'Show the replaced message';
      button.setAttribute('aria-expanded', String(isShown));
    });
    button.setAttribute('aria-expanded', 'false');
    this.element.prepend(button);
  }

  /** The text that was added to the answer, each sentence once. @param {boolean} isWhole */
  newWords(isWhole) {
    const { pieces } = this.parts;
    /** @type {string[]} */
    const said = [];
    for (; this.#spokenPieces < pieces.length; this.#spokenPieces++) {
      const isComplete = isWhole || this.#spokenPieces < pieces.length - 1;
      said.push(...this.#speech.next(pieces[this.#spokenPieces].element, isComplete));
      if (!isComplete) return said;
      this.#speech = new Speech();
    }
    return said;
  }

  /** Treat the current text as known to a listener. */
  skipWords() {
    const { pieces } = this.parts;
    this.#spokenPieces = Math.max(0, pieces.length - 1);
    const last = pieces[this.#spokenPieces];
    if (last) this.#speech.skip(last.element);
  }
}

/** @param {string} text */
function messageElement(text) {
  const element = make('div', 'message', text);
  element.dir = 'auto';
  element.setAttribute('role', 'group');
  element.setAttribute('aria-label', 'Message');
  return text.length > LONG_CHARS || text.split('\n').length > LONG_LINES ? folded(element) : element;
}

/** A long message, of which only the start is shown until the reader opens it. @param {HTMLElement} message */
function folded(message) {
  const holder = make('div', 'long');
  const button = makeButton('Show all', () => {
    const isOpen = message.classList.toggle('folded');
    button.textContent = isOpen ? 'Show all' : 'Show less';
    button.setAttribute('aria-expanded', String(!isOpen));
  });
  button.setAttribute('aria-expanded', 'false');
  message.classList.add('folded');
  holder.append(message, button);
  return holder;
}

/** @param {string} words @param {string} className @param {() => void} onClick */
function smallButton(words, className, onClick) {
  const button = makeButton(words, onClick);
  button.classList.add('copy', className);
  return button;
}
