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

export class TurnView {
  #speech = new Speech();
  #spokenPieces = 0;
  /** What is shown of it was there before the page was: it is not said. */
  isSilent = false;

  /** @param {string | null} message `null`: none is known @param {(callId: string, decision: Decision) => void} onDecide */
  constructor(message, onDecide) {
    this.message = message;
    this.element = make('li', 'turn');
    this.answer = make('div', 'answer');
    this.status = make('p', 'status');
    this.notes = make('div', 'notes');
    this.answer.setAttribute('role', 'group');
    this.answer.setAttribute('aria-label', 'Answer');
    this.parts = new Parts(this.answer, onDecide);
    if (message !== null) this.element.append(messageElement(message));
    this.element.append(this.status, this.answer, this.notes);
  }

  get text() {
    return this.parts.text;
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

  /** @param {string} [words] how it ended, where that needs a word */
  end(words = '') {
    this.parts.showText(this.text, true);
    this.parts.end();
    this.element.dataset.phase = 'ended';
    this.status.textContent = '';
    this.answer.removeAttribute('aria-busy');
    if (words) this.note(words);
    if (this.text && navigator.clipboard) this.notes.append(copyButton());
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

  /** What was added to the answer, in words, each sentence once. @param {boolean} isWhole */
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

  /** Take what is shown as known to a listener. */
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

/** A long message, of which only the start is shown until it is asked for. @param {HTMLElement} message */
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

function copyButton() {
  const button = makeButton('Copy', () => {});
  button.classList.add('copy', 'copy-answer');
  return button;
}
