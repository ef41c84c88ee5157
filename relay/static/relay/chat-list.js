/**
 * The list of conversations: find one, open it, rename it, delete it.
 *
 * @module chat-list
 */

import { byId, make, makeButton } from './chat-dom.js';

const SEARCH_MS = 200; // after the last key

/** @typedef {import('./chat-store.js').Kept} Kept */

export class ConversationList {
  #sessionId;
  #store;
  #dialog = /** @type {HTMLDialogElement} */ (byId('conversations'));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #search;

  /** @param {string} sessionId the one that is open @param {import('./chat-store.js').Store} store */
  constructor(sessionId, store) {
    this.#sessionId = sessionId;
    this.#store = store;
    byId('list').addEventListener('click', () => this.#open());
    byId('list-close').addEventListener('click', () => this.#dialog.close());
    byId('list-search').addEventListener('input', () => {
      clearTimeout(this.#search);
      this.#search = setTimeout(() => this.#show(), SEARCH_MS);
    });
    void this.#showTitle();
  }

  /** There is a new message in the open one. @param {string} title what it is called if it has no title yet @param {string | null} [updated] when; now */
  note(title, updated) {
    this.#store.note(this.#sessionId, title, updated);
    if (document.title === 'Conversation') document.title = title;
  }

  async #showTitle() {
    const kept = await this.#store.list('').catch(() => []);
    const own = kept.find(({ id }) => id === this.#sessionId);
    if (own?.title) document.title = own.title;
  }

  #open() {
    byId('list-search').value = '';
    this.#dialog.showModal();
    void this.#show();
  }

  async #show() {
    const status = byId('list-status');
    try {
      const kept = await this.#store.list(byId('list-search').value);
      byId('list-items').replaceChildren(...kept.map((one) => this.#item(one)));
      status.textContent = kept.length ? '' : byId('list-search').value ? 'No conversations found.' : 'Your conversations will be listed here.';
    } catch {
      status.textContent = 'The list could not be loaded. Close it and try again.';
    }
  }

  /** @param {Kept} kept */
  #item(kept) {
    const item = make('li', 'kept');
    const link = /** @type {HTMLAnchorElement} */ (make('a', '', kept.title || 'Untitled'));
    const address = new URL(location.href);
    address.hash = '';
    address.searchParams.set('session', kept.id);
    link.href = address.href;
    if (kept.id === this.#sessionId) link.setAttribute('aria-current', 'page');
    const when = /** @type {HTMLTimeElement} */ (make('time', 'note', new Date(kept.updated).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })));
    when.dateTime = kept.updated;
    const rename = makeButton('Rename', () => this.#rename(item, kept));
    const remove = makeButton('Delete', () => this.#askToRemove(item, kept));
    for (const button of [rename, remove]) button.setAttribute('aria-label', `${button.textContent}: ${kept.title}`);
    item.append(link, when, rename, remove);
    return item;
  }

  /** @param {HTMLElement} item @param {Kept} kept */
  #rename(item, kept) {
    const form = make('form', 'kept-form');
    const field = /** @type {HTMLInputElement} */ (make('input', ''));
    field.value = kept.title;
    field.maxLength = 200;
    field.setAttribute('aria-label', 'Title');
    const save = makeButton('Save', () => {});
    save.type = 'submit';
    form.append(field, save, makeButton('Cancel', () => this.#show()));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (kept.id === this.#sessionId && field.value.trim()) document.title = field.value.trim();
      void this.#change(() => this.#store.rename(kept.id, field.value.trim()));
    });
    item.replaceChildren(form);
    field.select();
  }

  /** @param {HTMLElement} item @param {Kept} kept */
  #askToRemove(item, kept) {
    const words = this.#store.erases ? 'Delete it with all its messages? This cannot be undone.' : 'Remove it from the list of this browser? Its link still opens it.';
    const remove = makeButton(this.#store.erases ? 'Delete' : 'Remove', () => this.#change(() => this.#store.remove(kept.id)));
    item.replaceChildren(make('p', 'note', words), remove, makeButton('Cancel', () => this.#show()));
    remove.focus();
  }

  /** @param {() => Promise<void>} act */
  async #change(act) {
    try {
      await act();
      await this.#show();
      byId('list-search').focus();
    } catch (error) {
      byId('list-status').textContent = /** @type {Error} */ (error).message;
    }
  }
}
