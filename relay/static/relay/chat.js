/**
 * The chat page: one conversation, named by the address.
 *
 * @module chat
 */

import { Access } from './chat-access.js';
import { Composer } from './chat-composer.js';
import { ConnectionView, showInvalidAddress } from './chat-connection.js';
import { Conversation } from './chat-conversation.js';
import { Decisions } from './chat-decisions.js';
import { byId } from './chat-dom.js';
import { History } from './chat-history.js';
import { ConversationList } from './chat-list.js';
import { noticesOf } from './chat-notices.js';
import { Notifier } from './chat-notify.js';
import { outboxOf } from './chat-outbox.js';
import { Outgoing } from './chat-outgoing.js';
import { replacedOf } from './chat-replaced.js';
import { browserStore, gatewayStore, titleOf } from './chat-store.js';
import { Turns } from './chat-turns.js';
import { Views } from './chat-views.js';
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
  isListed = false; // in the reader's list, with the time of the newest page

  /** @param {string} sessionId */
  constructor(sessionId) {
    const { base = '' } = document.body.dataset;
    this.access = new Access(document.body.dataset, sessionId);
    this.client = connect({ base, sessionId, ticket: this.access.ticket });
    this.conversation = new Conversation();
    this.outbox = outboxOf(sessionId);
    this.notices = noticesOf(sessionId);
    this.replaced = replacedOf(sessionId);
    this.list = new ConversationList(sessionId, this.access.hasOwnSessions ? gatewayStore(base, () => this.access.credential()) : browserStore());
    this.views = new Views({
      decide: (callId, decision) => this.decisions.decide(callId, decision),
      edit: (view) => this.edit(view.message ?? '', view.id ?? undefined),
      repeat: (view) => this.turns.repeat(view),
    });
    this.notifier = new Notifier(sessionId);
    this.connection = new ConnectionView({
      announce: (words) => this.conversation.announce(words),
      reconnect: () => this.client.wake(),
      access: this.access,
    });
    this.composer = new Composer(sessionId, {
      say: (content, replaces) => this.#say(content, replaces),
      stop: () => this.#stop(),
      focus: () => this.client.wake(),
      said: () => this.conversation.said,
    });
    this.client.on('state', (info) => this.#showState(info));
    this.outgoing = new Outgoing(this);
    this.decisions = new Decisions(this);
    this.turns = new Turns(this);
    this.history = new History({
      load: (query) => this.client.history(query),
      isKnown: (turnId) => this.views.get(turnId) !== undefined,
      prepend: (turns) => this.#addEnded(turns, 'prepend'),
      insert: (turns) => this.#addEnded(turns, 'insert'),
    });
    this.client.on('welcome', (frame) => this.#onWelcome(frame));
    this.client.on('snapshot', (frame) => this.#onSnapshot(frame));
    this.client.on('user_message', ({ content }) => this.list.note(titleOf(content)));
    this.client.on('final', () => this.notifier.notify('The answer is ready.'));
    this.client.on('error', () => this.notifier.notify('The answer failed.'));
    this.client.on('notice', ({ content }, turn) => !turn && this.#onNotice(content));
    this.#showState(this.client.state);
    for (const button of document.querySelectorAll('[data-say]')) button.addEventListener('click', () => this.#say(/** @type {HTMLElement} */ (button).dataset.say ?? ''));
    for (const { id, content, replaces } of this.outbox.unaccepted()) this.outgoing.send(content, { clientMessageId: id, replaces });
  }

  /** @param {import('./gateway-client.js').StateInfo} info */
  #showState(info) {
    this.connection.show(info);
    this.changed();
  }

  /** @param {import('./gateway-client.js').WelcomeFrame} frame */
  async #onWelcome(frame) {
    this.outgoing.welcome(frame.queued);
    this.changed();
    if (this.history.isStarted) return;
    await this.history.loadEarlier();
    for (const { content, after } of this.notices.all()) this.conversation.notice(content, this.views.get(after ?? '')?.element);
    this.conversation.scrollToEnd();
  }

  /** Frames are missing: turns that ended meanwhile are in the history, or lost. @param {import('./gateway-client.js').SnapshotFrame} frame */
  async #onSnapshot(frame) {
    if (!this.history.isStarted) return; // the newest page is being loaded, and has them
    const isKept = await this.history.fill();
    if (isKept && frame.history) return;
    if (frame.reason === 'trimmed') this.conversation.note('Some earlier messages are no longer available.');
    else if (!this.conversation.isEmpty) {
      this.conversation.note('The server restarted and no longer has the messages above. You can keep chatting; they disappear when you close this page.');
    }
  }

  /** @param {import('./gateway-client.js').EndedTurn[]} turns @param {'prepend' | 'insert'} how */
  #addEnded(turns, how) {
    this.conversation[how](turns.map((turn) => this.turns.ended(turn)));
    const [first] = this.conversation.said;
    if (turns.length && first && !this.isListed) this.list.note(titleOf(first), turns[turns.length - 1].ended_at);
    this.isListed = true;
    this.decisions.settle();
    this.changed();
  }

  /** @param {string} content */
  #onNotice(content) {
    this.notices.add({ content, after: this.views.all().at(-1)?.id ?? null });
    this.conversation.notice(content);
    this.conversation.announce(`Notice: ${content}`);
  }

  /** @param {string} content @param {string} [replaces] */
  #say(content, replaces) {
    this.outgoing.send(content, { replaces });
    this.composer.focus();
  }

  #stop() {
    this.client.cancel();
    this.conversation.announce('Stopped.');
  }

  /** @param {string} content @param {string} [replaces] the turn that the message will replace */
  edit(content, replaces) {
    this.composer.edit(content, replaces);
  }

  focus() {
    this.composer.focus();
  }

  /** Update the available actions. */
  changed() {
    this.composer.update(this.client.state.state === 'closed', this.client.activeTurnId !== null);
    for (const button of document.querySelectorAll('[data-say]')) /** @type {HTMLButtonElement} */ (button).disabled = this.client.state.state === 'closed';
    byId('empty').hidden = !this.conversation.isEmpty || !this.history?.isStarted;
  }
}

try {
  new ChatPage(sessionOfAddress());
} catch (error) {
  if (!(error instanceof TypeError || error instanceof URIError)) throw error;
  showInvalidAddress();
}
