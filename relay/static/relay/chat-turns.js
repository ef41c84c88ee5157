/**
 * Turns as they come from the client, and the views that show them.
 *
 * @module chat-turns
 */

import { makeButton, retryButton, byId } from './chat-dom.js';
import { Queue } from './chat-queue.js';
import { TurnView } from './chat-turn.js';
import { newId } from './gateway-client.js';

const ENDED_WORDS = new Map([
  ['stop', ''],
  ['tool_calls', ''],
  ['interrupt', ''],
  ['cancelled', 'Stopped.'],
  ['length', 'The answer reached its length limit.'],
]);

/** @typedef {import('./gateway-client.js').Turn} Turn */
/** @typedef {import('./chat-tool.js').Decision} Decision */
/** @typedef {{client: import('./gateway-client.js').GatewayClient, conversation: import('./chat-conversation.js').Conversation, outbox: ReturnType<typeof import('./chat-outbox.js').outboxOf>, edit: (content: string) => void, focus: () => void, changed: () => void}} Page */

export class Turns {
  #page;
  #queue = new Queue();
  /** @type {Map<string, TurnView>} */
  #viewsById = new Map();
  /** @type {WeakMap<Turn, TurnView>} */
  #viewsByTurn = new WeakMap();
  /** @type {Map<string, {view: TurnView, cancel: () => void}>} own messages that wait, by turn id */
  #waiting = new Map();
  /** @type {number | null} the newest offset when the page was opened; `null` before that is known */
  #historyEnd = null;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    const { client } = page;
    client.on('welcome', (frame) => this.#onWelcome(frame));
    client.on('accepted', (frame, turn) => turn && this.#onAccepted(turn));
    client.on('refused', (frame, turn) => this.#onRefused(frame, turn));
    client.on('snapshot', (frame, turn) => this.#onSnapshot(frame, turn));
    client.on('user_message', (frame, turn) => this.#begin(turn, frame.content));
    client.on('token', (frame, turn) => this.#onToken(frame, turn));
    client.on('event', (frame, turn) => this.#onEvent(frame, turn));
    client.on('notice', (frame, turn) => this.#onNotice(frame, turn));
    client.on('final', (frame, turn) => this.#onFinal(turn));
    client.on('error', (frame, turn) => this.#onError(frame, turn));
  }

  /** Is it known that nothing was said before? */
  get isNew() {
    return this.#historyEnd === 0;
  }

  /** @param {string} content @param {string} [clientMessageId] */
  send(content, clientMessageId = newId()) {
    const { client, conversation, outbox } = this.#page;
    const view = this.#makeView(content);
    outbox.add(clientMessageId, content);
    conversation.add(view, 'waiting');
    const turn = client.send(content, { clientMessageId });
    this.#viewsByTurn.set(turn, view);
    if (turn.error) this.#onRefused({ content: turn.error.message }, turn);
    else view.wait(client.state.state === 'open' ? 'Sending…' : 'Will send when you are back online', () => this.#remove(view, () => turn.cancel()));
    conversation.scrollToEnd();
    this.#page.changed();
  }

  /** @param {string | null} message */
  #makeView(message) {
    return new TurnView(message, (callId, decision) => this.#decide(callId, decision));
  }

  // The queue.

  /** @param {import('./gateway-client.js').WelcomeFrame} frame */
  #onWelcome(frame) {
    this.#historyEnd ??= frame.offset;
    if (frame.recovered && this.#page.conversation.isEmpty) byId('earlier').hidden = !frame.after;
    this.#queue.reset(frame.queued);
    this.#restoreWaiting(frame.queued);
    this.#showQueue();
    this.#page.changed();
  }

  /** After a reload: messages of this tab that the server has and did not start. @param {string[]} queued */
  #restoreWaiting(queued) {
    for (const { content, turnId } of this.#page.outbox.accepted()) {
      if (!queued.includes(turnId)) this.#dropWaiting(turnId);
      else if (!this.#viewsById.has(turnId)) this.#restore(turnId, content);
    }
  }

  /** @param {string} turnId @param {string} content */
  #restore(turnId, content) {
    const view = this.#makeView(content);
    this.#viewsById.set(turnId, view);
    this.#waiting.set(turnId, { view, cancel: () => this.#page.client.cancel(turnId) });
    this.#page.conversation.add(view, 'waiting');
  }

  /** It has started, and its frames follow; or the server forgot it. @param {string} turnId */
  #dropWaiting(turnId) {
    const view = this.#waiting.get(turnId)?.view;
    this.#waiting.delete(turnId);
    this.#page.outbox.remove(turnId);
    view?.fail('The server no longer has this message.', retryButton(0, () => this.#sendInstead(view)));
  }

  #showQueue() {
    for (const [turnId, { view, cancel }] of this.#waiting) {
      const ahead = this.#queue.ahead(turnId);
      view.wait(ahead ? `Queued, ${ahead} ahead` : 'Queued, next', () => this.#remove(view, cancel, turnId));
    }
    const others = this.#queue.countOthers((id) => this.#viewsById.has(id));
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

  /** @param {Turn} turn */
  #onAccepted(turn) {
    const id = turn.id ?? '';
    if (turn.clientMessageId) this.#page.outbox.accept(turn.clientMessageId, id);
    const view = this.#viewsByTurn.get(turn);
    if (!view || turn.status !== 'queued') return;
    this.#viewsById.set(id, view);
    this.#queue.add(id, turn.position ?? 0);
    if (turn.isStopped) this.#queue.remove(id);
    else this.#waiting.set(id, { view, cancel: () => turn.cancel() });
    this.#showQueue();
  }

  // The turn that runs.

  /** The view of a turn; one without a message if its start was not seen. @param {Turn} turn */
  #view(turn, message = /** @type {string | null} */ (null)) {
    const known = this.#viewsById.get(turn.id ?? '') ?? this.#viewsByTurn.get(turn);
    const view = known ?? this.#makeView(message);
    if (known) return view;
    view.begin();
    this.#page.conversation.add(view, 'turns');
    this.#viewsById.set(turn.id ?? '', view);
    return view;
  }

  /** @param {Turn} turn @param {string | null} message */
  #begin(turn, message) {
    const id = turn.id ?? '';
    const view = this.#view(turn, message);
    this.#viewsById.set(id, view);
    this.#waiting.delete(id);
    this.#queue.begin(id);
    view.begin();
    this.#page.conversation.add(view, 'turns');
    this.#page.outbox.remove(turn.clientMessageId ?? id);
    this.#showQueue();
    this.#page.changed();
  }

  /** @type {WeakMap<TurnView, () => void>} one drawing a view, so that it is queued once */
  #drawings = new WeakMap();

  /** @param {{offset?: number}} frame @param {Turn} turn */
  #onToken(frame, turn) {
    const { conversation } = this.#page;
    const view = this.#view(turn);
    if (view.isSilent && !this.#isHistory(frame)) conversation.flush(); // what was there before is not said
    view.isSilent = this.#isHistory(frame);
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
    const view = this.#view(turn);
    view.show(turn.text);
    view.parts.addEvent(frame);
    if (frame.requires_approval && !this.#isHistory(frame)) this.#page.conversation.announce(`${view.parts.card(frame.call_id)?.name} waits for your approval.`);
    this.#page.conversation.follow();
  }

  /** @param {import('./gateway-client.js').SnapshotFrame} frame @param {Turn | null} turn */
  #onSnapshot(frame, turn) {
    const { conversation } = this.#page;
    const isNewEpoch = frame.reason === 'epoch_changed';
    this.#historyEnd = frame.offset;
    // Where nothing was shown, nothing was lost: a session without messages is forgotten with its last viewer.
    if (!isNewEpoch || !conversation.isEmpty) {
      conversation.note(
        isNewEpoch
          ? 'The server restarted and no longer has the messages above. You can keep chatting; they disappear when you close this page.'
          : 'Some earlier messages are no longer available.',
      );
    }
    if (!turn) return;
    this.#begin(turn, null);
    const view = this.#view(turn);
    view.show(turn.text);
    view.skipWords();
  }

  /** @param {{content: string}} frame @param {Turn | null} turn */
  #onNotice({ content }, turn) {
    if (turn) this.#view(turn).note(content);
    else this.#page.conversation.notice(content);
  }

  // Ends.

  /** @param {Turn} turn */
  #onFinal(turn) {
    const view = this.#finish(turn);
    const reason = turn.isStopped ? 'cancelled' : (turn.finishReason ?? 'stop');
    view.end(ENDED_WORDS.get(reason) ?? `Ended: ${reason}.`);
    this.#page.conversation.follow();
  }

  /** @param {import('./gateway-client.js').ErrorFrame} frame @param {Turn} turn */
  #onError(frame, turn) {
    const view = this.#finish(turn);
    const button = retryButton(frame.retry_after_ms ?? 0, () => this.#sendAgain(view));
    view.fail(frame.content, view.message !== null ? button : undefined);
    if (!this.#isHistory(frame)) this.#page.conversation.announce(frame.content);
    this.#page.conversation.follow();
  }

  /** @param {Turn} turn */
  #finish(turn) {
    const { conversation, outbox } = this.#page;
    const view = this.#view(turn);
    this.#waiting.delete(turn.id ?? '');
    this.#queue.begin(turn.id ?? '');
    this.#showQueue();
    view.show(turn.text);
    conversation.flush();
    if (view.isSilent) view.skipWords();
    conversation.announceAnswer(view, true);
    conversation.add(view, 'turns');
    outbox.remove(turn.clientMessageId ?? '');
    this.#page.changed();
    return view;
  }

  /** @param {{content: string, retry_after_ms?: number}} frame @param {Turn | null} turn */
  #onRefused(frame, turn) {
    const { conversation, outbox } = this.#page;
    const view = turn && this.#viewsByTurn.get(turn);
    if (!view) return turn ? undefined : conversation.note(frame.content);
    outbox.remove(turn.clientMessageId ?? '');
    const canRetry = frame.retry_after_ms !== undefined;
    view.fail(frame.content, canRetry ? retryButton(frame.retry_after_ms ?? 0, () => this.#sendInstead(view)) : makeButton('Edit', () => this.#edit(view)));
    conversation.announce(frame.content);
    this.#page.changed();
  }

  /** @param {{offset?: number}} frame */
  #isHistory(frame) {
    return (frame.offset ?? Infinity) <= (this.#historyEnd ?? 0);
  }

  /** @param {TurnView} view a message that the server did not take */
  #sendInstead(view) {
    this.#page.conversation.remove(view);
    this.#sendAgain(view);
  }

  /** @param {TurnView} view */
  #sendAgain(view) {
    this.send(view.message ?? '');
    this.#page.focus();
  }

  /** @param {TurnView} view a message that the server did not take */
  #edit(view) {
    this.#page.conversation.remove(view);
    this.#page.edit(view.message ?? '');
  }

  // Approval.

  /** @param {string} callId @param {Decision} decision */
  #decide(callId, decision) {
    const cards = [...this.#viewsById.values()].map((view) => view.parts.card(callId)).filter((card) => card !== undefined);
    for (const card of cards) card.resolve(decision);
    const turn = this.#page.client.send(undefined, { type: 'hitl_decision', call_id: callId, decision });
    turn.accepted.catch((error) => {
      this.#page.conversation.note(error.message);
      for (const card of cards) card.wait((again) => this.#decide(callId, again));
    });
  }
}
