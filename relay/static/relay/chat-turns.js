/**
 * Turns from the client and from the history, each as one view.
 *
 * @module chat-turns
 */

import { retryButton } from './chat-dom.js';
import { endedWords, keptMessage, showAnswer } from './chat-ended.js';

/** @typedef {import('./gateway-client.js').Turn} Turn */
/** @typedef {import('./gateway-client.js').EndedTurn} EndedTurn */
/** @typedef {import('./chat-turn.js').TurnView} TurnView */
/** @typedef {{client: import('./gateway-client.js').GatewayClient, conversation: import('./chat-conversation.js').Conversation, views: import('./chat-views.js').Views, outbox: ReturnType<typeof import('./chat-outbox.js').outboxOf>, replaced: ReturnType<typeof import('./chat-replaced.js').replacedOf>, outgoing: import('./chat-outgoing.js').Outgoing, decisions: import('./chat-decisions.js').Decisions, edit: (content: string, replaces?: string) => void, focus: () => void, changed: () => void}} Page */

export class Turns {
  #page;
  /** @type {number | null} the newest offset when the page was opened; `null` before that is known */
  #knownEnd = null;
  /** @type {WeakMap<TurnView, () => void>} one drawing a view, so that it is queued once */
  #drawings = new WeakMap();

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    const { client } = page;
    client.on('welcome', (frame) => (this.#knownEnd ??= frame.offset));
    client.on('snapshot', (frame, turn) => this.#onSnapshot(frame, turn));
    client.on('user_message', (frame, turn) => this.#onMessage(frame, turn));
    client.on('token', (frame, turn) => this.#onToken(frame, turn));
    client.on('event', (frame, turn) => this.#onEvent(frame, turn));
    client.on('notice', ({ content }, turn) => turn && this.#view(turn).note(content));
    client.on('final', (frame, turn) => this.#onFinal(turn));
    client.on('error', (frame, turn) => this.#onError(frame, turn));
  }

  // The running turn.

  /** The view of a turn; one without a message if its start was not seen. @param {Turn} turn */
  #view(turn, message = /** @type {string | null} */ (null)) {
    const { conversation, views } = this.#page;
    const known = views.of(turn);
    const view = known ?? views.make(message);
    if (known) return view;
    view.begin();
    conversation.add(view, 'turns');
    views.keep(turn.id ?? '', view);
    return view;
  }

  /** @param {import('./gateway-client.js').UserMessageFrame} frame @param {Turn} turn */
  #onMessage(frame, turn) {
    const view = this.#begin(turn, frame.content);
    if (!this.#isKnown(frame)) view.showTime(new Date());
    if (typeof frame.replaces === 'string') this.replace(frame.replaces);
  }

  /** @param {string} turnId */
  replace(turnId) {
    this.#page.replaced.add(turnId);
    this.#page.views.get(turnId)?.replace();
  }

  /** @param {Turn} turn @param {string | null} message */
  #begin(turn, message) {
    const id = turn.id ?? '';
    const view = this.#view(turn, message);
    this.#page.views.keep(id, view);
    view.begin();
    this.#page.conversation.add(view, 'turns');
    this.#page.outgoing.begin(id, turn.clientMessageId);
    this.#page.changed();
    return view;
  }

  /** @param {{offset?: number}} frame @param {Turn} turn */
  #onToken(frame, turn) {
    const { conversation } = this.#page;
    const view = this.#view(turn);
    if (view.isSilent && !this.#isKnown(frame)) conversation.flush(); // earlier text is not announced
    view.isSilent = this.#isKnown(frame);
    const drawing = this.#drawings.get(view) ?? (() => this.#draw(view, turn));
    this.#drawings.set(view, drawing);
    conversation.draw(drawing);
  }

  /** @param {TurnView} view @param {Turn} turn */
  #draw(view, turn) {
    view.show(turn.text);
    if (view.isSilent) view.skipWords();
    else this.#page.conversation.announceAnswer(view, false);
  }

  /** @param {import('./gateway-client.js').Frame} frame @param {Turn} turn */
  #onEvent(frame, turn) {
    const { conversation, decisions, outgoing } = this.#page;
    const view = this.#view(turn);
    outgoing.begin(turn.id ?? '', turn.clientMessageId);
    if (decisions.take(frame, view)) return conversation.follow();
    view.show(turn.text);
    view.parts.addEvent(frame);
    if (frame.type === 'tool_call' && frame.requires_approval === true) {
      decisions.settle();
      if (!this.#isKnown(frame)) conversation.announce(`${view.parts.card(frame.call_id)?.name} waits for your approval.`);
    }
    conversation.follow();
  }

  /** @param {import('./gateway-client.js').SnapshotFrame} frame @param {Turn | null} turn */
  #onSnapshot(frame, turn) {
    this.#knownEnd = frame.offset;
    if (!turn) return;
    const message = frame.user_message;
    const view = this.#begin(turn, message?.type === 'user_message' ? String(message.content) : null);
    view.show(turn.text);
    view.skipWords();
  }

  // Ends.

  /** @param {Turn} turn */
  #onFinal(turn) {
    const view = this.#finish(turn);
    view.end(endedWords(turn.isStopped ? 'cancelled' : (turn.finishReason ?? 'stop')));
    this.#page.conversation.follow();
  }

  /** @param {import('./gateway-client.js').ErrorFrame} frame @param {Turn} turn */
  #onError(frame, turn) {
    const view = this.#finish(turn);
    this.#fail(view, frame.content, frame.retry_after_ms);
    if (!this.#isKnown(frame)) this.#page.conversation.announce(frame.content);
    this.#page.conversation.follow();
  }

  /** @param {TurnView} view @param {string} words @param {number} [retryAfterMs] */
  #fail(view, words, retryAfterMs = 0) {
    view.fail(words, view.message === null ? undefined : retryButton(retryAfterMs, () => this.repeat(view)));
  }

  /** @param {Turn} turn */
  #finish(turn) {
    const { conversation, outgoing } = this.#page;
    const view = this.#view(turn);
    this.#page.views.keep(turn.id ?? '', view);
    outgoing.begin(turn.id ?? '', turn.clientMessageId);
    view.show(turn.text);
    conversation.flush();
    if (view.isSilent) view.skipWords();
    conversation.announceAnswer(view, true);
    conversation.add(view, 'turns');
    this.#page.changed();
    return view;
  }

  /** Send the message of a turn again. @param {TurnView} view */
  repeat(view) {
    this.#page.outgoing.send(view.message ?? '', { replaces: view.id ?? undefined });
    this.#page.focus();
  }

  /** Did this frame exist when the page was opened? @param {{offset?: number}} frame */
  #isKnown(frame) {
    return (frame.offset ?? Infinity) <= (this.#knownEnd ?? 0);
  }

  // The history.

  /** @param {EndedTurn} turn @returns {TurnView} */
  ended(turn) {
    const message = keptMessage(turn.message);
    const view = this.#page.views.make(message.type === 'user_message' ? message.content : null);
    this.#page.views.keep(turn.turn_id, view);
    view.begin();
    if (turn.started_at) view.showTime(new Date(turn.started_at));
    if (message.type !== 'user_message' && !this.#page.decisions.take(message, view)) view.parts.addEvent(message);
    showAnswer(view, turn, (event) => this.#page.decisions.take(event, view) || view.parts.addEvent(event));
    if (turn.error) this.#fail(view, turn.error.content);
    else view.end(endedWords(turn.finish_reason));
    view.skipWords();
    if (this.#page.replaced.has(turn.turn_id)) view.replace();
    return view;
  }
}
