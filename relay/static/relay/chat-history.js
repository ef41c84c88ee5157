/**
 * Ended turns, loaded page by page: the newest first, older ones as the reader scrolls up.
 *
 * @module chat-history
 */

import { byId } from './chat-dom.js';

const PAGE_TURNS = 30;
const NEAR_TOP_PX = 800;
const AGAIN_MS = 3000; // after a page that could not be loaded
const MAX_FILL_PAGES = 20;

/** @typedef {import('./gateway-client.js').EndedTurn} EndedTurn */
/** @typedef {import('./gateway-client.js').HistoryPage} TurnPage */
/** @typedef {{load: (query: {before?: string, limit: number}) => Promise<TurnPage>, isKnown: (turnId: string) => boolean, prepend: (turns: EndedTurn[]) => void, insert: (turns: EndedTurn[]) => void}} Source `prepend`: above all, `insert`: above the turn in flight; both oldest first */

export class History {
  #source;
  /** @type {string | null | undefined} the cursor of the next page; `undefined`: none was loaded, `null`: that was all */
  #next;
  #isLoading = false;

  /** @param {Source} source */
  constructor(source) {
    this.#source = source;
    byId('scroller').addEventListener('scroll', () => this.#onScroll(), { passive: true });
    byId('earlier').addEventListener('click', () => this.loadEarlier());
  }

  /** Was the newest page loaded? */
  get isStarted() {
    return this.#next !== undefined;
  }

  /** Load a page of older turns, unless one is being loaded or there are no more. */
  async loadEarlier() {
    if (this.#isLoading || this.#next === null) return;
    this.#isLoading = true;
    byId('earlier').textContent = 'Loading earlier messages…';
    try {
      const page = await this.#source.load({ before: this.#next, limit: PAGE_TURNS });
      this.#next = page.next;
      this.#source.prepend(this.#unknown(page).reverse());
      byId('earlier').textContent = 'Load earlier messages';
    } catch {
      byId('earlier').textContent = 'Earlier messages could not be loaded. Try again';
      setTimeout(() => this.#onScroll(), AGAIN_MS);
    } finally {
      this.#isLoading = false;
      byId('earlier').hidden = this.#next === null || (this.#next === undefined && byId('turns').children.length === 0);
    }
    if (this.#next) this.#onScroll();
  }

  /** Load the turns that ended while this page was disconnected, back to a known one. `false`: they could not be loaded. */
  async fill() {
    /** @type {EndedTurn[]} */
    const missed = [];
    /** @type {string | null | undefined} */
    let before = undefined;
    try {
      for (let count = 0; count < MAX_FILL_PAGES && before !== null; count++) {
        const page = /** @type {TurnPage} */ (await this.#source.load({ before, limit: PAGE_TURNS }));
        const unknown = this.#unknown(page);
        missed.push(...unknown);
        before = unknown.length < page.turns.length ? null : page.next;
      }
    } catch {
      return false;
    } finally {
      this.#source.insert(missed.reverse());
    }
    return true;
  }

  /** @param {TurnPage} page @returns {EndedTurn[]} a list of its own */
  #unknown({ turns }) {
    return turns.filter(({ turn_id }) => !this.#source.isKnown(turn_id));
  }

  #onScroll() {
    if (this.isStarted && byId('scroller').scrollTop < NEAR_TOP_PX) void this.loadEarlier();
  }
}
