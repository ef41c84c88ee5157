/**
 * The agent's questions to a person: which tool calls wait, and how they were decided.
 *
 * @module chat-decisions
 */

/** @typedef {import('./chat-tool.js').Decision} Decision */
/** @typedef {import('./chat-turns.js').Page} Page */
/** @typedef {import('./gateway-client.js').PendingRequest} Question */

export class Decisions {
  #page;
  /** @type {Map<string, Decision>} by call id, as far as this page saw them */
  #decided = new Map();

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    page.client.on('pending', () => this.#settleCards());
    page.client.on('pending_resolved', ({ call_id }) => this.#resolve(call_id));
  }

  /** @param {string} callId @param {Decision} decision */
  decide(callId, decision) {
    this.#decided.set(callId, decision);
    this.#resolve(callId);
    const turn = this.#page.client.answer(callId, decision);
    turn.accepted.catch((error) => this.#onRefused(callId, error));
  }

  /** @param {string} callId @param {{code: string, message: string}} error */
  #onRefused(callId, { code, message }) {
    this.#decided.delete(callId);
    this.#page.conversation.note(message);
    if (code === 'already_decided') return;
    for (const card of this.#page.views.cards(callId)) card.wait((decision) => this.decide(callId, decision));
  }

  /** Show every question, including those of turns that are not on the page. */
  settle() {
    this.#settleCards();
    for (const question of this.#page.client.pending) if (this.#page.views.cards(question.call_id).length === 0) this.#showLost(question);
  }

  #settleCards() {
    const asked = new Set(this.#page.client.pending.map(({ call_id }) => call_id));
    for (const view of this.#page.views.all()) {
      for (const [callId, card] of view.parts.cards()) {
        const isAsked = asked.has(callId) && !this.#decided.has(callId);
        if (card.state === 'waiting' && !isAsked) card.resolve(this.#decided.get(callId) ?? null);
        else if (card.state === 'open' && isAsked) card.wait((decision) => this.decide(callId, decision));
      }
    }
  }

  /** A question of a turn that is not on the page. @param {Question} question */
  #showLost(question) {
    const { conversation, views } = this.#page;
    const view = views.get(question.turn_id) ?? views.make(null);
    if (!view.id) {
      views.keep(question.turn_id, view);
      view.begin();
      view.end();
      conversation.add(view, 'turns');
    }
    view.parts.addEvent({ ...question, type: 'tool_call', requires_approval: true });
  }

  /**
   * Apply an event that answers a question; `false`: it does not.
   *
   * @param {import('./chat-parts.js').AgentEvent} event
   * @param {import('./chat-turn.js').TurnView} view of the turn that the answer started
   */
  take(event, view) {
    if (event.type !== 'hitl_decision') return event.type === 'pending_resolved';
    this.#takeAnswer(event, view);
    return true;
  }

  /** @param {import('./chat-parts.js').AgentEvent} event @param {import('./chat-turn.js').TurnView} view */
  #takeAnswer(event, view) {
    const answers = Array.isArray(event.decisions) ? event.decisions : [event];
    for (const { call_id, decision } of answers) {
      this.#decided.set(call_id, decision === 'approve' || decision === 'edit' ? 'approve' : 'reject');
      this.#resolve(call_id);
      const name = this.#page.views.cards(call_id)[0]?.name ?? 'A tool call';
      view.answer.before(decisionNote(`${name}: ${this.#decided.get(call_id) === 'approve' ? 'approved' : 'rejected'}`));
    }
  }

  /** @param {string} callId */
  #resolve(callId) {
    for (const card of this.#page.views.cards(callId)) card.resolve(this.#decided.get(callId) ?? null);
  }
}

/** @param {string} words */
function decisionNote(words) {
  const note = document.createElement('p');
  note.className = 'decision';
  note.textContent = words;
  return note;
}
