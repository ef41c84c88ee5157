/**
 * The views of all turns, by their id and by the client's turn.
 *
 * @module chat-views
 */

import { TurnView } from './chat-turn.js';

/** @typedef {import('./gateway-client.js').Turn} Turn */

export class Views {
  /** @type {Map<string, TurnView>} */
  #byId = new Map();
  /** @type {WeakMap<Turn, TurnView>} */
  #byTurn = new WeakMap();
  #actions;

  /** @param {import('./chat-turn.js').Actions} actions */
  constructor(actions) {
    this.#actions = actions;
  }

  /** @param {string | null} message `null`: none is known */
  make(message) {
    return new TurnView(message, this.#actions);
  }

  /** @param {string} id @param {TurnView} view */
  keep(id, view) {
    view.id = id;
    this.#byId.set(id, view);
  }

  /** The view of a turn that may have no id yet. @param {Turn} turn @param {TurnView} view */
  keepTurn(turn, view) {
    this.#byTurn.set(turn, view);
  }

  /** @param {string} id */
  get(id) {
    return this.#byId.get(id);
  }

  /** @param {Turn} turn */
  of(turn) {
    return this.#byId.get(turn.id ?? '') ?? this.#byTurn.get(turn);
  }

  /** The cards of a tool call: more than one if a turn asked again. @param {unknown} callId */
  cards(callId) {
    return [...this.#byId.values()].map((view) => view.parts.card(callId)).filter((card) => card !== undefined);
  }

  all() {
    return [...this.#byId.values()];
  }
}
