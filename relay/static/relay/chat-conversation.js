/**
 * The list of turns: when they are drawn, the scroll position, and the text read aloud.
 *
 * @module chat-conversation
 */

import { listenForCopies } from './chat-code.js';
import { byId, copyOnClick, make } from './chat-dom.js';

const ANNOUNCED_MS = 10_000; // a screen reader has read it by then; after a longer time it would find it in the page again
const NEAR_PX = 80;

/** @typedef {import('./chat-turn.js').TurnView} TurnView */

export class Conversation {
  /** @type {Map<Element, TurnView>} */
  #views = new Map();
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
    this.scroller.addEventListener('toggle', () => this.#onToggle(), { capture: true });
    byId('latest').addEventListener('click', () => this.scrollToEnd());
    new ResizeObserver(() => this.follow()).observe(this.scroller);
    listenForCopies(this.scroller);
    copyOnClick(this.scroller, '.copy-answer', (button) => this.#viewOf(button)?.text ?? '');
  }

  get isEmpty() {
    return this.#views.size === 0;
  }

  /** @param {TurnView} view @param {'turns' | 'waiting'} place */
  add(view, place) {
    if (view.element.parentElement !== this[place]) this[place].append(view.element);
    this.#views.set(view.element, view);
    this.follow();
  }

  /** Put ended turns above all others, without moving the visible part. @param {TurnView[]} views oldest first */
  prepend(views) {
    const before = this.scroller.scrollHeight;
    this.turns.prepend(...this.#elementsOf(views));
    if (!this.#isPinned) this.scroller.scrollTop += this.scroller.scrollHeight - before;
    this.#lastTop = this.scroller.scrollTop;
    this.follow();
  }

  /** Put ended turns above the one in flight. @param {TurnView[]} views oldest first */
  insert(views) {
    const inFlight = this.turns.querySelector('[data-phase="running"]');
    for (const element of this.#elementsOf(views)) this.turns.insertBefore(element, inFlight);
    this.follow();
  }

  /** @param {TurnView[]} views */
  #elementsOf(views) {
    for (const view of views) this.#views.set(view.element, view);
    return views.map(({ element }) => element);
  }

  /** The reader's own messages, oldest first. */
  get said() {
    const views = [...this.turns.children, ...this.waiting.children].map((element) => this.#views.get(element));
    return views.map((view) => view?.message).filter((message) => typeof message === 'string');
  }

  /** @param {TurnView} view */
  remove(view) {
    view.element.remove();
    this.#views.delete(view.element);
  }

  /** @param {string} words something about the conversation as a whole */
  note(words) {
    this.#addItem(make('p', 'note rule', words));
    this.announce(words);
  }

  /** @param {string} words an operator's notice to all readers @param {Element | null} after the turn below which it came */
  notice(words, after = null) {
    const box = make('div', 'notice');
    box.append(make('strong', '', 'Notice'), make('p', '', words));
    this.#addItem(box, after);
  }

  /** @param {HTMLElement} content @param {Element | null} [after] */
  #addItem(content, after = null) {
    const item = make('li', 'turn');
    item.append(content);
    if (after) after.after(item);
    else this.turns.append(item);
    this.follow();
  }

  /** Draw before the next frame is painted, only once however often it is requested. @param {() => void} drawing */
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
    byId('latest').hidden = this.#isPinned || this.#restBelow() < NEAR_PX;
  }

  scrollToEnd() {
    this.#isPinned = true;
    this.follow();
  }

  /** Announce a text to screen readers, after the current one. @param {string} words */
  announce(words) {
    if (!words.trim()) return;
    const element = make('p', '', words);
    this.announcer.append(element);
    setTimeout(() => element.remove(), ANNOUNCED_MS);
  }

  /** Announce what was added to an answer, in sentences, never single tokens. @param {TurnView} view @param {boolean} isWhole */
  announceAnswer(view, isWhole) {
    for (const words of view.newWords(isWhole)) this.announce(words);
  }

  /** @param {Element} element */
  #viewOf(element) {
    return this.#views.get(/** @type {Element} */ (element.closest('.turn')));
  }

  #restBelow() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight;
  }

  /** The reader opened or closed something: keep the visible part in place. */
  #onToggle() {
    if (this.#restBelow() >= NEAR_PX) this.#isPinned = false;
    this.follow();
  }

  #onScroll() {
    if (this.scroller.scrollTop < this.#lastTop) this.#isPinned = false; // only the reader scrolls up
    if (this.#restBelow() < 8) this.#isPinned = true;
    this.#lastTop = this.scroller.scrollTop;
    byId('latest').hidden = this.#isPinned || this.#restBelow() < NEAR_PX;
  }
}
