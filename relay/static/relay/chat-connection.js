/**
 * What the connection is doing, in words: the pill in the bar, and the banner once it is closed.
 *
 * @module chat-connection
 */

import { byId } from './chat-dom.js';

/** @typedef {import('./gateway-client.js').StateInfo} StateInfo */

const CLOSED_WORDS = new Map([
  ['unauthorized', 'You are signed out or your access has expired. Sign in, then reload this page.'],
  ['forbidden', 'This conversation belongs to another user. Start a new one.'],
  ['kicked', 'An operator disconnected you.'],
  ['session_deleted', 'This conversation was deleted. Start a new one.'],
]);

/** @param {string} words */
function showBanner(words) {
  const banner = byId('banner');
  banner.textContent = words;
  banner.hidden = false;
}

/** The address names no conversation that there can be. */
export function showInvalidAddress() {
  showBanner('This link is not valid. Start a new conversation.');
  const pill = byId('connection');
  pill.dataset.state = 'closed';
  pill.textContent = 'Not connected';
  byId('input').disabled = true;
}

export class ConnectionView {
  #announce;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  hasConnected = false;

  /** @param {(words: string) => void} announce @param {() => void} onReconnect */
  constructor(announce, onReconnect) {
    this.#announce = announce;
    byId('reconnect').addEventListener('click', onReconnect);
  }

  /** @param {StateInfo} info */
  show(info) {
    clearInterval(this.#countdown);
    const until = Date.now() + (info.delayMs ?? 0);
    const show = () => this.#showPill(info, Math.round((until - Date.now()) / 1000));
    show();
    if (info.state === 'waiting' && info.delayMs) this.#countdown = setInterval(show, 1000);
    if (info.state === 'closed') showBanner(CLOSED_WORDS.get(info.code ?? '') ?? info.content ?? 'The connection was closed. Reload this page.');
    if (info.state === 'open' && this.hasConnected) this.#announce('Connected again.');
    if (info.state === 'waiting' && info.attempt === 1 && info.delayMs) this.#announce('Connection lost. Trying again.');
    this.hasConnected ||= info.state === 'open';
  }

  /** @param {StateInfo} info @param {number} seconds */
  #showPill({ state, delayMs, attempt = 0 }, seconds) {
    const words = {
      connecting: this.hasConnected ? 'Reconnecting…' : 'Connecting…',
      open: 'Connected',
      waiting: delayMs === null ? 'Paused' : navigator.onLine === false ? 'Offline' : seconds > 1 ? `Reconnecting in ${seconds} s` : 'Reconnecting…',
      closed: 'Disconnected',
    };
    const pill = byId('connection');
    pill.dataset.state = state;
    document.body.dataset.connection = state;
    pill.textContent = words[state];
    byId('reconnect').hidden = state !== 'waiting' || (delayMs !== null && attempt < 3);
  }
}
