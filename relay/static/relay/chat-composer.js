/**
 * The message field: its keys, its height, and the buttons beside it.
 *
 * @module chat-composer
 */

import { byId } from './chat-dom.js';

const MAX_FIELD_PX = 200;

/** @typedef {{say: (content: string) => void, stop: () => void, focus: () => void}} Actions */

export class Composer {
  #input = byId('input');
  #actions;
  #isClosed = false;

  /** @param {Actions} actions `focus`: the field is about to be used */
  constructor(actions) {
    this.#actions = actions;
    byId('composer').addEventListener('submit', (/** @type {Event} */ event) => this.#onSubmit(event));
    this.#input.addEventListener('input', () => this.#onInput());
    this.#input.addEventListener('focus', () => actions.focus());
    this.#input.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.#onKey(event));
    document.addEventListener('keydown', (event) => event.key === 'Escape' && !event.isComposing && this.#stop());
    byId('stop').addEventListener('click', () => this.#stop());
    if (matchMedia('(pointer: fine)').matches) this.focus();
    this.#onInput();
  }

  focus() {
    this.#input.focus();
  }

  /** Put a text into the field, to be changed. @param {string} text */
  edit(text) {
    this.#input.value = text;
    this.focus();
    this.#onInput();
  }

  /** @param {boolean} isClosed nothing can be sent any more @param {boolean} isRunning a turn can be stopped */
  update(isClosed, isRunning) {
    this.#isClosed = isClosed;
    byId('stop').hidden = isClosed || !isRunning;
    byId('send').disabled = isClosed || !this.#input.value.trim();
  }

  #onInput() {
    this.#input.style.height = 'auto';
    this.#input.style.height = `${Math.min(this.#input.scrollHeight, MAX_FIELD_PX)}px`;
    byId('send').disabled = this.#isClosed || !this.#input.value.trim();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId('composer').requestSubmit();
  }

  /** @param {Event} event */
  #onSubmit(event) {
    event.preventDefault();
    const content = this.#input.value.trimEnd();
    if (!content || this.#isClosed) return;
    this.#input.value = '';
    this.#onInput();
    this.#actions.say(content);
    this.focus();
  }

  #stop() {
    if (byId('stop').hidden) return;
    this.#actions.stop();
    this.focus();
  }
}
