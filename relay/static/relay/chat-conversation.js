/**
 * The list of turns: what is drawn when, what is scrolled to, and what is read aloud.
 *
 * @module chat-conversation
 */

import { byId, make } from './chat-dom.js';

const MAX_TURN_VIEWS = 300; // older ones leave the page; the log may still hold them
const MAX_ANNOUNCEMENTS = 20;

/** @typedef {import('./chat-turn.js').TurnView} TurnView */

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
