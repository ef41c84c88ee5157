/**
 * The chat page: one conversation, named by the address.
 *
 * @module chat
 */

import { Composer } from './chat-composer.js';
import { ConnectionView, showInvalidAddress } from './chat-connection.js';
import { Conversation } from './chat-conversation.js';
import { byId } from './chat-dom.js';
import { outboxOf } from './chat-outbox.js';
import { Turns } from './chat-turns.js';
import { connect, newId } from './gateway-client.js';

/** The session named by the address; a new one is written into it, so that a reload stays in the conversation. */
function sessionOfAddress() {
  const address = new URL(location.href);
  const named = address.searchParams.get('session') || decodeURIComponent(address.hash.slice(1));
  const sessionId = named || newId();
  if (!named) {
    address.searchParams.set('session', sessionId);
    history.replaceState(null, '', address);
  }
  return sessionId;
}

class ChatPage {
  /** @param {string} sessionId */
  constructor(sessionId) {
    this.client = connect({ base: document.body.dataset.base, sessionId, cursor: { offset: 0 } });
    this.conversation = new Conversation();
    this.outbox = outboxOf(sessionId);
    this.connection = new ConnectionView((words) => this.conversation.announce(words), () => this.client.wake());
    this.composer = new Composer({ say: (content) => this.turns.send(content), stop: () => this.#stop(), focus: () => this.client.wake() });
    this.client.on('state', (info) => this.#showState(info));
    this.turns = new Turns({
      client: this.client,
      conversation: this.conversation,
      outbox: this.outbox,
      edit: (content) => this.composer.edit(content),
      focus: () => this.composer.focus(),
      changed: () => this.#update(),
    });
    this.#showState(this.client.state);
    for (const button of document.querySelectorAll('[data-say]')) button.addEventListener('click', () => this.#say(button));
    for (const { id, content } of this.outbox.unaccepted()) this.turns.send(content, id);
  }

  /** @param {import('./gateway-client.js').StateInfo} info */
  #showState(info) {
    this.connection.show(info);
    this.#update();
  }

  /** @param {Element} suggestion */
  #say(suggestion) {
    this.turns.send(/** @type {HTMLElement} */ (suggestion).dataset.say ?? '');
    this.composer.focus();
  }

  #stop() {
    this.client.cancel();
    this.conversation.announce('Stopped.');
  }

  #update() {
    this.composer.update(this.client.state.state === 'closed', this.client.activeTurnId !== null);
    byId('empty').hidden = !this.connection.hasConnected || !this.conversation.isEmpty || !this.turns.isNew;
  }
}

try {
  new ChatPage(sessionOfAddress());
} catch (error) {
  if (!(error instanceof TypeError || error instanceof URIError)) throw error;
  showInvalidAddress();
}
