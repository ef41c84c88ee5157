/**
 * The state of the connection in words: the pill in the bar and, once it is closed, the banner with possible actions.
 *
 * @module chat-connection
 */

import { byId, make, makeButton } from './chat-dom.js';

/** @typedef {import('./gateway-client.js').StateInfo} StateInfo */
/** @typedef {'login' | 'reconnect' | 'new'} Way what a reader can do */
/** @typedef {{announce: (words: string) => void, reconnect: () => void, access: import('./chat-access.js').Access}} Page */

/** @type {Map<string, {words: string, ways: Way[]}>} */
const CLOSED = new Map([
  ['unauthorized', { words: 'You are signed out or your access has expired.', ways: ['login', 'reconnect'] }],
  ['forbidden', { words: 'This conversation belongs to another user.', ways: ['new', 'login'] }],
  ['kicked', { words: 'An operator disconnected you.', ways: ['reconnect', 'new'] }],
  ['session_deleted', { words: 'This conversation was deleted.', ways: ['new'] }],
]);
const NOT_SET_UP = 'This page cannot sign you in: its operator must set GATEWAY__CHAT_CREDENTIAL_URL.';

/** The address does not name a valid conversation. */
export function showInvalidAddress() {
  showBanner('This link is not valid. Start a new conversation.', newLinks());
  showPill('closed', 'Not connected');
  byId('input').disabled = true;
  byId('empty').hidden = false;
  for (const suggestion of document.querySelectorAll('.suggestions')) /** @type {HTMLElement} */ (suggestion).hidden = true;
}

/** @param {string} words @param {HTMLElement[]} ways */
function showBanner(words, ways) {
  const banner = byId('banner');
  const buttons = make('p', 'ways');
  buttons.append(...ways);
  banner.replaceChildren(make('p', '', words), buttons);
  banner.hidden = false;
}

/** @param {string} state @param {string} words */
function showPill(state, words) {
  const pill = byId('connection');
  pill.dataset.state = state;
  document.body.dataset.connection = state;
  pill.textContent = words;
}

/** None in a frame: the page around it has one conversation. */
function newLinks() {
  if (document.body.classList.contains('framed')) return [];
  const link = /** @type {HTMLAnchorElement} */ (make('a', 'small', 'New conversation'));
  link.href = location.pathname;
  return [link];
}

export class ConnectionView {
  #page;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  hasConnected = false;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    byId('reconnect').addEventListener('click', () => page.reconnect());
  }

  /** @param {StateInfo} info */
  show(info) {
    clearInterval(this.#countdown);
    const until = Date.now() + (info.delayMs ?? 0);
    const show = () => this.#showState(info, Math.round((until - Date.now()) / 1000));
    show();
    if (info.state === 'waiting' && info.delayMs) this.#countdown = setInterval(show, 1000);
    if (info.state === 'closed') this.#showClosed(info);
    if (info.state === 'open' && this.hasConnected) this.#page.announce('Reconnected.');
    if (info.state === 'waiting' && info.attempt === 1 && info.delayMs) this.#page.announce('Connection lost. Retrying.');
    this.hasConnected ||= info.state === 'open';
  }

  /** @param {StateInfo} info @param {number} seconds */
  #showState({ state, delayMs, attempt = 0 }, seconds) {
    const words = {
      connecting: this.hasConnected ? 'Reconnecting…' : 'Connecting…',
      open: 'Connected',
      waiting: delayMs === null ? 'Paused' : navigator.onLine === false ? 'Offline' : seconds > 1 ? `Reconnecting in ${seconds} s` : 'Reconnecting…',
      closed: 'Disconnected',
    };
    showPill(state, words[state]);
    byId('reconnect').hidden = state !== 'waiting' || (delayMs !== null && attempt < 3);
  }

  /** @param {StateInfo} info */
  #showClosed({ code = '', content }) {
    const { words, ways } = CLOSED.get(code) ?? { words: content ?? 'The connection was closed.', ways: /** @type {Way[]} */ (['reconnect', 'new']) };
    const isUnfinished = code === 'unauthorized' && this.#page.access.isUnfinished;
    showBanner(isUnfinished ? NOT_SET_UP : words, ways.flatMap((way) => this.#way(way)));
  }

  /** @param {Way} way @returns {HTMLElement[]} none where it leads nowhere */
  #way(way) {
    if (way === 'new') return newLinks();
    if (way === 'reconnect') return [makeButton('Reconnect', () => location.reload())];
    const { loginAddress } = this.#page.access;
    if (!loginAddress) return [];
    const link = /** @type {HTMLAnchorElement} */ (make('a', 'small', 'Log in'));
    link.href = loginAddress;
    return [link];
  }
}
