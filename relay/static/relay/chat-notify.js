/**
 * A browser notification when an answer is ready while its tab is in the background. Off until the reader turns it on.
 *
 * @module chat-notify
 */

import { byId } from './chat-dom.js';

const KEY = 'gateway-notify';

export class Notifier {
  #sessionId;
  #box = /** @type {HTMLInputElement} */ (byId('notify'));

  /** @param {string} sessionId */
  constructor(sessionId) {
    this.#sessionId = sessionId;
    byId('notify-row').hidden = !('Notification' in globalThis);
    this.#box.checked = isWanted() && globalThis.Notification?.permission === 'granted';
    this.#box.addEventListener('change', () => this.#onChange());
  }

  /** @param {string} words what has happened, without any text of the conversation */
  notify(words) {
    if (!document.hidden || !this.#box.checked) return;
    const notification = new Notification(document.title, { body: words, tag: this.#sessionId });
    notification.onclick = () => {
      globalThis.focus();
      notification.close();
    };
  }

  async #onChange() {
    if (this.#box.checked && (await Notification.requestPermission()) !== 'granted') this.#box.checked = false;
    byId('notify-note').hidden = Notification.permission !== 'denied';
    remember(this.#box.checked);
  }
}

function isWanted() {
  try {
    return localStorage.getItem(KEY) === 'on';
  } catch {
    return false; // storage is off
  }
}

/** @param {boolean} isOn */
function remember(isOn) {
  try {
    if (isOn) localStorage.setItem(KEY, 'on');
    else localStorage.removeItem(KEY);
  } catch {
    // storage is off or full: a reload asks again
  }
}
