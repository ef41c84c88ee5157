/**
 * The reader's own messages on their way: sent, queued, refused, sent again.
 *
 * @module chat-outgoing
 */

import { byId, makeButton, retryButton } from './chat-dom.js';
import { Queue } from './chat-queue.js';
import { newId } from './gateway-client.js';

const SENT_AGAIN = new Set(['shutting_down', 'store_unavailable']); // the gateway could not accept it: the page tries again
const SENT_AGAIN_MS = 2000;

/** @typedef {import('./gateway-client.js').Turn} Turn */
/** @typedef {import('./chat-turn.js').TurnView} TurnView */
/** @typedef {import('./chat-turns.js').Page} Page */

export class Outgoing {
  #page;
  #queue = new Queue();
  /** @type {Map<string, {view: TurnView, cancel: () => void}>} own messages that wait, by turn id */
  #waiting = new Map();

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    page.client.on('accepted', (frame, turn) => turn && this.#onAccepted(turn));
    page.client.on('refused', (frame, turn) => this.#onRefused(frame, turn));
  }

  /** @param {string} content @param {{replaces?: string, clientMessageId?: string}} [options] `replaces`: a turn's id */
  send(content, { replaces, clientMessageId = newId() } = {}) {
    const { conversation, views } = this.#page;
    const view = views.make(content);
    view.showTime(new Date());
    conversation.add(view, 'waiting');
    this.#transmit(view, clientMessageId, replaces);
    if (replaces) views.get(replaces)?.replace();
    conversation.scrollToEnd();
    this.#page.changed();
  }

  /** @param {TurnView} view @param {string} clientMessageId @param {string} [replaces] */
  #transmit(view, clientMessageId, replaces) {
    const { client, outbox, views } = this.#page;
    outbox.add(clientMessageId, view.message ?? '', replaces);
    const turn = client.send(view.message ?? '', { clientMessageId, replaces });
    views.keepTurn(turn, view);
    if (turn.error) this.#onRefused({ code: turn.error.code, content: turn.error.message }, turn);
    else view.wait(client.state.state === 'open' ? 'Sending…' : 'Will send when you are back online', () => this.#remove(view, () => turn.cancel()));
  }

  /** @param {Turn} turn */
  #onAccepted(turn) {
    const { outbox, views } = this.#page;
    const id = turn.id ?? '';
    if (turn.clientMessageId) outbox.accept(turn.clientMessageId, id);
    const view = views.of(turn);
    if (!view || turn.status !== 'queued') return;
    views.keep(id, view);
    this.#queue.add(id, turn.position ?? 0);
    if (turn.isStopped) this.#queue.remove(id);
    else this.#waiting.set(id, { view, cancel: () => turn.cancel() });
    this.#showQueue();
  }

  /** @param {{code?: string, content: string, retry_after_ms?: number}} frame @param {Turn | null} turn */
  #onRefused(frame, turn) {
    const { conversation, outbox, views } = this.#page;
    const view = turn && views.of(turn);
    if (!view) return turn ? undefined : conversation.note(frame.content);
    if (SENT_AGAIN.has(frame.code ?? '')) return this.#sendAgainLater(view, turn.clientMessageId ?? newId(), frame);
    outbox.remove(turn.clientMessageId ?? '');
    const canRetry = frame.retry_after_ms !== undefined;
    view.fail(frame.content, canRetry ? retryButton(frame.retry_after_ms ?? 0, () => this.#sendInstead(view)) : makeButton('Edit', () => this.#edit(view)));
    conversation.announce(frame.content);
    this.#page.changed();
  }

  /** @param {TurnView} view @param {string} clientMessageId @param {{content: string, retry_after_ms?: number}} frame */
  #sendAgainLater(view, clientMessageId, { content, retry_after_ms = SENT_AGAIN_MS }) {
    const timer = setTimeout(() => this.#transmit(view, clientMessageId, this.#page.outbox.replaces(clientMessageId)), retry_after_ms);
    view.wait(`${content} It will be sent again.`, () => {
      clearTimeout(timer);
      this.#page.outbox.remove(clientMessageId);
      this.#edit(view);
    });
  }

  /** @param {TurnView} view a message that the server did not accept */
  #sendInstead(view) {
    this.#page.conversation.remove(view);
    this.send(view.message ?? '');
    this.#page.focus();
  }

  /** @param {TurnView} view a message that the server did not accept */
  #edit(view) {
    this.#page.conversation.remove(view);
    this.#page.edit(view.message ?? '');
    this.#page.changed();
  }

  // The queue.

  /** @param {string[]} queued all queued turns, as listed by the server */
  welcome(queued) {
    this.#queue.reset(queued);
    for (const { content, turnId } of this.#page.outbox.accepted()) {
      if (!queued.includes(turnId)) this.#drop(turnId);
      else if (!this.#page.views.get(turnId)) this.#restore(turnId, content);
    }
    this.#showQueue();
  }

  /** A turn is running or has ended, so it is no longer queued. @param {string} turnId @param {string | null} clientMessageId */
  begin(turnId, clientMessageId) {
    this.#waiting.delete(turnId);
    this.#queue.begin(turnId);
    this.#page.outbox.remove(clientMessageId ?? turnId);
    this.#showQueue();
  }

  /** After a reload: a message of this tab that the server has stored but not started. @param {string} turnId @param {string} content */
  #restore(turnId, content) {
    const { client, conversation, views } = this.#page;
    const view = views.make(content);
    views.keep(turnId, view);
    this.#waiting.set(turnId, { view, cancel: () => client.cancel(turnId) });
    conversation.add(view, 'waiting');
  }

  /** It has started and its frames follow, or the server no longer has it. @param {string} turnId */
  #drop(turnId) {
    const view = this.#waiting.get(turnId)?.view;
    this.#waiting.delete(turnId);
    this.#page.outbox.remove(turnId);
    view?.fail('The server no longer has this message.', retryButton(0, () => this.#sendInstead(view)));
  }

  #showQueue() {
    const { views } = this.#page;
    for (const [turnId, { view, cancel }] of this.#waiting) {
      const ahead = this.#queue.ahead(turnId);
      view.wait(ahead ? `Queued, ${ahead} ahead` : 'Queued, next', () => this.#remove(view, cancel, turnId));
    }
    const others = this.#queue.countOthers((id) => views.get(id) !== undefined);
    const note = byId('others');
    note.hidden = others === 0;
    note.textContent = others === 1 ? 'One more message is queued.' : `${others} more messages are queued.`;
  }

  /** @param {TurnView} view @param {() => void} cancel @param {string} [turnId] */
  #remove(view, cancel, turnId = '') {
    view.wait('Removing…');
    this.#page.focus();
    this.#waiting.delete(turnId);
    this.#queue.remove(turnId);
    this.#showQueue();
    this.#page.changed();
    cancel();
  }
}
