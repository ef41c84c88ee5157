/**
 * The message field: its keys, its height, its draft, and the buttons beside it.
 *
 * @module chat-composer
 */

import { byId } from './chat-dom.js';

const MAX_FIELD_PX = 200;
const IME_KEY_CODE = 229; // WebKit ends a composition before the keydown that ended it: webkit.org/b/165004

/** @typedef {{say: (content: string, replaces?: string) => void, stop: () => void, focus: () => void, said: () => string[]}} Actions */

export class Composer {
  #input = byId('input');
  #actions;
  #draftKey;
  #isClosed = false;
  #isTouch = matchMedia('(hover: none) and (pointer: coarse)').matches;
  /** @type {string | undefined} the turn that the message will replace */
  #replaces;
  /** @type {{texts: string[], index: number} | null} own messages that ↑ goes through */
  #recall = null;

  /** @param {string} sessionId @param {Actions} actions `focus`: the field is about to be used; `said`: the reader's own messages, oldest first */
  constructor(sessionId, actions) {
    this.#actions = actions;
    this.#draftKey = `gateway-draft:${sessionId}`;
    byId('composer').addEventListener('submit', (/** @type {Event} */ event) => this.#onSubmit(event));
    this.#input.addEventListener('input', () => this.#onInput());
    this.#input.addEventListener('focus', () => actions.focus());
    this.#input.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.#onKey(event));
    document.addEventListener('keydown', (event) => event.key === 'Escape' && !isComposing(event) && this.#onEscape());
    byId('stop').addEventListener('click', () => this.#stop());
    byId('edit-cancel').addEventListener('click', () => this.#endEdit());
    if (this.#isTouch) this.#input.enterKeyHint = 'enter';
    else this.focus();
    this.#show(loadDraft(this.#draftKey));
  }

  focus() {
    this.#input.focus();
  }

  /** Put a text into the field, to be edited. @param {string} text @param {string} [replaces] the turn that it replaces */
  edit(text, replaces) {
    this.#replaces = replaces;
    byId('editing').hidden = replaces === undefined;
    this.#show(text);
    this.focus();
  }

  /** @param {boolean} isClosed no more messages can be sent @param {boolean} isRunning a turn can be stopped */
  update(isClosed, isRunning) {
    this.#isClosed = isClosed;
    this.#input.disabled = isClosed;
    byId('stop').hidden = isClosed || !isRunning;
    this.#updateSend();
  }

  /** @param {string} text */
  #show(text) {
    this.#input.value = text;
    this.#onInput();
  }

  #onInput() {
    this.#input.style.height = 'auto';
    this.#input.style.height = `${Math.min(this.#input.scrollHeight, MAX_FIELD_PX)}px`;
    if (this.#recall && this.#input.value !== this.#recall.texts[this.#recall.index]) this.#recall = null;
    saveDraft(this.#draftKey, this.#input.value);
    this.#updateSend();
  }

  #updateSend() {
    byId('send').disabled = this.#isClosed || !this.#input.value.trim();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (isComposing(event)) return;
    if (event.key === 'ArrowUp' || event.key === 'ArrowDown') return this.#onArrow(event);
    if (event.key !== 'Enter' || event.shiftKey || this.#isTouch) return;
    event.preventDefault();
    byId('composer').requestSubmit();
  }

  /** ↑ in an empty field goes back through the reader's own messages. @param {KeyboardEvent} event */
  #onArrow(event) {
    if (!this.#recall && (this.#input.value || event.key === 'ArrowDown')) return;
    const texts = this.#recall?.texts ?? this.#actions.said();
    const index = (this.#recall?.index ?? texts.length) + (event.key === 'ArrowUp' ? -1 : 1);
    if (index < 0 || texts.length === 0) return;
    event.preventDefault();
    this.#recall = index < texts.length ? { texts, index } : null;
    this.#show(texts[index] ?? '');
  }

  /** @param {Event} event */
  #onSubmit(event) {
    event.preventDefault();
    const content = this.#input.value.trimEnd();
    const replaces = this.#replaces;
    if (!content || this.#isClosed) return;
    this.#endEdit();
    this.#actions.say(content, replaces);
  }

  #endEdit() {
    this.edit('');
  }

  #onEscape() {
    if (document.querySelector('dialog[open]')) return; // this key closes it
    if (this.#replaces) this.#endEdit();
    else this.#stop();
  }

  #stop() {
    if (byId('stop').hidden) return;
    this.#actions.stop();
    this.focus();
  }
}

/** Is this key an input method's? @param {KeyboardEvent} event */
function isComposing(event) {
  return event.isComposing || event.keyCode === IME_KEY_CODE;
}

/** @param {string} key */
function loadDraft(key) {
  try {
    return sessionStorage.getItem(key) ?? '';
  } catch {
    return ''; // storage is off
  }
}

/** @param {string} key @param {string} text */
function saveDraft(key, text) {
  try {
    if (text) sessionStorage.setItem(key, text);
    else sessionStorage.removeItem(key);
  } catch {
    // storage is off or full: a reload loses the draft
  }
}
