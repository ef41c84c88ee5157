/**
 * The chat page: wires the client's events to the conversation, and the message field to the client.
 *
 * @module chat
 */

import { connect, newId } from './gateway-client.js';
import { Composer } from './chat-composer.js';
import { ConnectionView, showBanner } from './chat-connection.js';
import { Conversation } from './chat-conversation.js';
import { byId, makeButton, retryButton } from './chat-dom.js';
import { outboxOf } from './chat-outbox.js';
import { TurnView } from './chat-turn.js';

/** @typedef {import('./gateway-client.js').Turn} Turn */

const MAX_KNOWN_TURNS = 300;

const ENDED_WORDS = new Map([
  ['stop', ''],
  ['cancelled', 'Stopped.'],
  ['length', 'The answer reached its length limit.'],
]);

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
  /** @type {Map<string, TurnView>} */
  #viewsByTurnId = new Map();
  /** @type {WeakMap<Turn, TurnView>} */
  #viewsByTurn = new WeakMap();
  /** @type {Set<string>} queued turns that other tabs sent */
  #othersQueued = new Set();
  /** @type {Map<string, TurnView>} messages from before a reload, by turn id */
  #restored = new Map();
  /** @type {number | null} the newest offset when the page was opened; `null` before that is known */
  #historyEnd = null;
  /** @param {string} sessionId */
  constructor(sessionId) {
    this.conversation = new Conversation();
    this.outbox = outboxOf(sessionId);
    this.client = connect({ base: document.body.dataset.base, sessionId, cursor: { offset: 0 } });
    this.connection = new ConnectionView((words) => this.conversation.announce(words), () => this.client.wake());
    this.composer = new Composer({ say: (content) => this.#send(content), stop: () => this.#stop(), focus: () => this.client.wake() });
    this.#listen();
    for (const button of document.querySelectorAll('[data-say]')) {
      button.addEventListener('click', () => this.#say(/** @type {HTMLElement} */ (button).dataset.say ?? ''));
    }
    this.#showState(this.client.state);
    for (const { id, content } of this.outbox.unaccepted()) this.#send(content, id);
  }

  #listen() {
    const { client } = this;
    client.on('state', (info) => this.#showState(info));
    client.on('welcome', (frame) => this.#onWelcome(frame));
    client.on('accepted', (frame, turn) => turn && this.#onAccepted(turn));
    client.on('refused', (frame, turn) => this.#onRefused(frame, turn));
    client.on('snapshot', (frame, turn) => this.#onSnapshot(frame, turn));
    client.on('user_message', (frame, turn) => this.#begin(turn, frame.content));
    client.on('token', (frame, turn) => this.#onToken(frame, turn));
    client.on('event', (frame, turn) => this.#view(turn).addEvent(frame));
    client.on('notice', (frame, turn) => this.#onNotice(frame, turn));
    client.on('final', (frame, turn) => this.#onFinal(turn));
    client.on('error', (frame, turn) => this.#onError(frame, turn));
  }

  /** @param {import('./gateway-client.js').StateInfo} info */
  #showState(info) {
    this.connection.show(info);
    this.#update();
  }

  /** @param {import('./gateway-client.js').WelcomeFrame} frame */
  #onWelcome(frame) {
    this.#historyEnd ??= frame.offset;
    if (frame.recovered && this.conversation.isEmpty) byId('earlier').hidden = !frame.after;
    this.#showOwnQueued(frame.queued);
    this.#othersQueued = new Set(frame.queued.filter((id) => !this.#viewsByTurnId.has(id)));
    this.#showOthersQueued();
    this.#update();
  }

  /** After a reload: messages of this tab that the server has and did not begin. @param {string[]} queued */
  #showOwnQueued(queued) {
    for (const { content, turnId } of this.outbox.accepted()) {
      if (!queued.includes(turnId)) this.#dropRestored(turnId);
      else if (!this.#viewsByTurnId.has(turnId)) this.#restore(turnId, content);
    }
  }

  /** @param {string} turnId @param {string} content */
  #restore(turnId, content) {
    const view = new TurnView(content);
    view.wait('Waiting for its turn', () => this.#skip(view, () => this.client.cancel(turnId)));
    this.#restored.set(turnId, view);
    this.#remember(turnId, view);
    this.conversation.add(view, 'waiting');
  }

  /** It has started, and its frames follow; or the server forgot it. @param {string} turnId */
  #dropRestored(turnId) {
    const view = this.#restored.get(turnId);
    this.#restored.delete(turnId);
    this.outbox.remove(turnId);
    view?.fail('The server no longer has this message.', retryButton(0, () => this.#sendInstead(view)));
  }

  #showOthersQueued() {
    const count = this.#othersQueued.size;
    const note = byId('others');
    note.hidden = count === 0;
    note.textContent = count === 1 ? 'One more message is waiting.' : `${count} more messages are waiting.`;
  }

  // Turns.

  /** @param {string} content @param {string} [clientMessageId] */
  #send(content, clientMessageId = newId()) {
    const view = new TurnView(content);
    this.outbox.add(clientMessageId, content);
    this.conversation.add(view, 'waiting');
    const turn = this.client.send(content, { clientMessageId });
    this.#viewsByTurn.set(turn, view);
    if (turn.error) this.#onRefused({ content: turn.error.message }, turn);
    else this.#showWaiting(view, turn, this.client.state.state === 'open' ? 'Sending…' : 'Will be sent when the connection is back');
    this.conversation.scrollToEnd();
    this.#update();
  }

  /** The view of a turn; one without a message if its beginning was not seen. @param {Turn} turn */
  #view(turn, message = /** @type {string | null} */ (null)) {
    const id = turn.id ?? '';
    const known = this.#viewsByTurnId.get(id) ?? this.#viewsByTurn.get(turn);
    const view = known ?? new TurnView(message);
    if (known) return view;
    view.begin();
    this.conversation.add(view, 'turns');
    this.#remember(id, view);
    return view;
  }

  /** @param {string} turnId @param {TurnView} view */
  #remember(turnId, view) {
    this.#viewsByTurnId.set(turnId, view);
    const [oldest] = this.#viewsByTurnId.keys();
    if (this.#viewsByTurnId.size > MAX_KNOWN_TURNS) this.#viewsByTurnId.delete(oldest);
  }

  /** @param {TurnView} view @param {Turn} turn @param {string} words */
  #showWaiting(view, turn, words) {
    view.wait(words, () => this.#skip(view, () => turn.cancel()));
  }

  /** @param {TurnView} view @param {() => void} cancel */
  #skip(view, cancel) {
    view.wait('Will be skipped');
    this.composer.focus();
    cancel();
  }

  /** @param {Turn} turn */
  #onAccepted(turn) {
    if (turn.clientMessageId) this.outbox.accept(turn.clientMessageId, turn.id ?? '');
    const view = this.#viewsByTurn.get(turn);
    if (!view || turn.status !== 'queued') return;
    this.#remember(turn.id ?? '', view);
    if (!turn.isStopped) this.#showWaiting(view, turn, turn.position ? `Waiting, ${turn.position} before it` : 'Waiting for its turn');
  }

  /** @param {Turn} turn @param {string | null} message */
  #begin(turn, message) {
    const view = this.#view(turn, message);
    this.#remember(turn.id ?? '', view);
    this.#restored.delete(turn.id ?? '');
    view.begin();
    this.conversation.turns.append(view.element);
    this.conversation.follow();
    this.outbox.remove(turn.clientMessageId ?? turn.id ?? '');
    this.#othersQueued.delete(turn.id ?? '');
    this.#showOthersQueued();
    this.#update();
  }

  /** @param {{offset?: number}} frame @param {Turn} turn */
  #onToken(frame, turn) {
    const view = this.#view(turn);
    this.conversation.draw(this.#drawing(view, turn, this.#isHistory(frame)));
  }

  /** @type {WeakMap<TurnView, () => void>} one drawing a view, so that it is queued once */
  #drawings = new WeakMap();

  /** @param {TurnView} view @param {Turn} turn @param {boolean} isHistory */
  #drawing(view, turn, isHistory) {
    if (isHistory) view.announced = turn.text.length;
    const known = this.#drawings.get(view);
    const drawing = known ?? (() => {
      view.show(turn.text);
      this.conversation.announceAnswer(view, false);
    });
    this.#drawings.set(view, drawing);
    return drawing;
  }

  /** @param {import('./gateway-client.js').SnapshotFrame} frame @param {Turn | null} turn */
  #onSnapshot(frame, turn) {
    const isNewEpoch = frame.reason === 'epoch_changed';
    this.#historyEnd = frame.offset;
    // Where nothing was shown, nothing was lost: a session without messages is forgotten with its last viewer.
    if (!isNewEpoch || !this.conversation.isEmpty) {
      this.conversation.note(
        isNewEpoch
          ? 'The server lost the earlier part of this conversation, most likely by a restart. It stays readable here until you leave the page, and you can go on.'
          : 'Some messages between here and there are no longer kept by the server.',
      );
    }
    if (!turn) return;
    this.#begin(turn, null);
    const view = this.#view(turn);
    view.show(turn.text);
    view.announced = turn.text.length;
  }

  /** @param {{content: string}} frame @param {Turn | null} turn */
  #onNotice({ content }, turn) {
    if (turn) this.#view(turn).note(content);
    else this.conversation.note(content);
  }

  /** @param {Turn} turn */
  #onFinal(turn) {
    const view = this.#finish(turn);
    const reason = turn.isStopped ? 'cancelled' : (turn.finishReason ?? 'stop');
    view.end(ENDED_WORDS.get(reason) ?? `Ended: ${reason}.`);
    this.conversation.follow();
  }

  /** @param {import('./gateway-client.js').ErrorFrame} frame @param {Turn} turn */
  #onError(frame, turn) {
    const view = this.#finish(turn);
    const canRetry = frame.retry_after_ms !== undefined || frame.code === 'replay_gap';
    const button = retryButton(frame.retry_after_ms ?? 0, () => this.#say(view.message ?? ''));
    view.fail(frame.content, canRetry && view.message !== null ? button : undefined);
    if (!this.#isHistory(frame)) this.conversation.announce(frame.content);
    this.conversation.follow();
  }

  /** @param {{content: string, retry_after_ms?: number}} frame @param {Turn | null} turn */
  #onRefused(frame, turn) {
    const view = turn && this.#viewsByTurn.get(turn);
    if (!view) return turn ? undefined : this.conversation.note(frame.content);
    this.outbox.remove(turn.clientMessageId ?? '');
    const canRetry = frame.retry_after_ms !== undefined;
    view.fail(frame.content, canRetry ? retryButton(frame.retry_after_ms ?? 0, () => this.#sendInstead(view)) : makeButton('Edit', () => this.#edit(view)));
    this.conversation.announce(frame.content);
    this.#update();
  }

  /** @param {{offset?: number}} frame */
  #isHistory(frame) {
    return (frame.offset ?? Infinity) <= (this.#historyEnd ?? 0);
  }

  /** @param {TurnView} view a message that the server did not take */
  #sendInstead(view) {
    this.conversation.remove(view);
    this.#say(view.message ?? '');
  }

  /** @param {TurnView} view a message that the server did not take */
  #edit(view) {
    this.conversation.remove(view);
    this.composer.edit(view.message ?? '');
    this.#update();
  }

  /** @param {Turn} turn */
  #finish(turn) {
    const view = this.#view(turn);
    this.conversation.flush();
    this.conversation.announceAnswer(view, true);
    this.conversation.turns.append(view.element);
    this.outbox.remove(turn.clientMessageId ?? '');
    this.#update();
    return view;
  }

  /** @param {string} content */
  #say(content) {
    this.#send(content);
    this.composer.focus();
  }

  #stop() {
    this.client.cancel();
    this.conversation.announce('Stopped.');
  }

  #update() {
    const { state } = this.client.state;
    this.composer.update(state === 'closed', this.client.activeTurnId !== null);
    byId('empty').hidden = !this.connection.hasConnected || !this.conversation.isEmpty || this.#historyEnd !== 0;
  }
}

try {
  new ChatPage(sessionOfAddress());
} catch (error) {
  if (!(error instanceof TypeError || error instanceof URIError)) throw error;
  showBanner('The address of this page names no valid conversation. Start a new one.');
}
