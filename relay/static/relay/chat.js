/**
 * The chat page: wires the client's events to the conversation, and the message field to the client.
 *
 * @module chat
 */

import { connect, newId } from './gateway-client.js';
import { outboxOf } from './chat-outbox.js';
import { byId, Conversation, makeButton, retryButton, TurnView } from './chat-view.js';

/** @typedef {import('./gateway-client.js').GatewayClient} GatewayClient */
/** @typedef {import('./gateway-client.js').StateInfo} StateInfo */
/** @typedef {import('./gateway-client.js').Turn} Turn */

const MAX_FIELD_PX = 200;
const MAX_KNOWN_TURNS = 300;

const CLOSED_WORDS = new Map([
  ['unauthorized', 'You are not signed in, or the sign-in has expired. Sign in, then reload this page.'],
  ['forbidden', 'This conversation belongs to somebody else. Start a new one.'],
  ['kicked', 'An operator closed this conversation for you.'],
  ['session_deleted', 'This conversation was deleted. Start a new one.'],
]);

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
  #hasConnected = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;

  /** @param {string} sessionId */
  constructor(sessionId) {
    this.conversation = new Conversation();
    this.outbox = outboxOf(sessionId);
    this.client = connect({ base: document.body.dataset.base, sessionId, cursor: { offset: 0 } });
    this.#listen();
    this.#wireComposer();
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

  // The connection.

  /** @param {StateInfo} info */
  #showState(info) {
    clearInterval(this.#countdown);
    const until = Date.now() + (info.delayMs ?? 0);
    const show = () => this.#showPill(info, Math.round((until - Date.now()) / 1000));
    show();
    if (info.state === 'waiting' && info.delayMs) this.#countdown = setInterval(show, 1000);
    if (info.state === 'closed') this.#showBanner(CLOSED_WORDS.get(info.code ?? '') ?? info.content ?? 'The connection was closed. Reload this page.');
    if (info.state === 'open' && this.#hasConnected) this.conversation.announce('Connected again.');
    if (info.state === 'waiting' && info.attempt === 1 && info.delayMs) this.conversation.announce('Connection lost. Trying again.');
    this.#hasConnected ||= info.state === 'open';
    this.#updateComposer();
  }

  /** @param {StateInfo} info @param {number} seconds */
  #showPill({ state, delayMs, attempt = 0 }, seconds) {
    const words = {
      connecting: this.#hasConnected ? 'Reconnecting…' : 'Connecting…',
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

  /** @param {string} words */
  #showBanner(words) {
    const banner = byId('banner');
    banner.textContent = words;
    banner.hidden = false;
  }

  /** @param {import('./gateway-client.js').WelcomeFrame} frame */
  #onWelcome(frame) {
    this.#historyEnd ??= frame.offset;
    if (frame.recovered && this.conversation.isEmpty) byId('earlier').hidden = !frame.after;
    this.#showOwnQueued(frame.queued);
    this.#othersQueued = new Set(frame.queued.filter((id) => !this.#viewsByTurnId.has(id)));
    this.#showOthersQueued();
    this.#updateComposer();
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
    this.#updateComposer();
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
    byId('input').focus();
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
    this.#updateComposer();
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
    this.#updateComposer();
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
    byId('input').value = view.message ?? '';
    byId('input').focus();
    this.#onInput();
  }

  /** @param {Turn} turn */
  #finish(turn) {
    const view = this.#view(turn);
    this.conversation.flush();
    this.conversation.announceAnswer(view, true);
    this.conversation.turns.append(view.element);
    this.outbox.remove(turn.clientMessageId ?? '');
    this.#updateComposer();
    return view;
  }

  // The message field.

  #wireComposer() {
    const input = byId('input');
    byId('composer').addEventListener('submit', (/** @type {Event} */ event) => this.#onSubmit(event));
    input.addEventListener('input', () => this.#onInput());
    input.addEventListener('focus', () => this.client.wake());
    input.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.#onKey(event));
    document.addEventListener('keydown', (event) => event.key === 'Escape' && !event.isComposing && this.#stop());
    byId('stop').addEventListener('click', () => this.#stop());
    byId('reconnect').addEventListener('click', () => this.client.wake());
    for (const button of document.querySelectorAll('[data-say]')) {
      button.addEventListener('click', () => this.#say(/** @type {HTMLElement} */ (button).dataset.say ?? ''));
    }
    if (matchMedia('(pointer: fine)').matches) input.focus();
    this.#onInput();
  }

  #onInput() {
    const input = byId('input');
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight, MAX_FIELD_PX)}px`;
    this.#updateComposer();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId('composer').requestSubmit();
  }

  /** @param {Event} event */
  #onSubmit(event) {
    event.preventDefault();
    const input = byId('input');
    if (!input.value.trim() || this.client.state.state === 'closed') return;
    this.#say(input.value.trimEnd());
    input.value = '';
    this.#onInput();
  }

  /** @param {string} content */
  #say(content) {
    this.#send(content);
    byId('input').focus();
  }

  #stop() {
    if (byId('stop').hidden) return;
    this.client.cancel();
    this.conversation.announce('Stopped.');
    byId('input').focus();
  }

  #updateComposer() {
    const isClosed = this.client.state.state === 'closed';
    byId('stop').hidden = isClosed || this.client.activeTurnId === null;
    byId('send').disabled = isClosed || !byId('input').value.trim();
    byId('empty').hidden = !this.#hasConnected || !this.conversation.isEmpty || this.#historyEnd !== 0;
  }
}

try {
  new ChatPage(sessionOfAddress());
} catch (error) {
  if (!(error instanceof TypeError || error instanceof URIError)) throw error;
  const banner = byId('banner');
  banner.textContent = 'The address of this page names no valid conversation. Start a new one.';
  banner.hidden = false;
}
