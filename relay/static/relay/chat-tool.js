/**
 * A tool call with its result, in one card; with buttons if it waits for a person.
 *
 * @module chat-tool
 */

import { make, makeButton } from './chat-dom.js';

/** @typedef {'approve' | 'reject'} Decision */
/** @typedef {'running' | 'done' | 'failed' | 'waiting' | 'approve' | 'reject' | 'open'} State */

const STATE_WORDS = /** @type {const} */ ({
  running: 'Running…',
  done: 'Done',
  failed: 'Failed',
  waiting: 'Waiting for your approval',
  approve: 'Approved',
  reject: 'Rejected',
  open: 'No result',
});

export class ToolCard {
  /** @type {State} */
  state = 'running';
  #name = make('span', 'tool-name');
  #state = make('span', 'tool-state');
  #body = make('div', 'tool-body');
  #details = /** @type {HTMLDetailsElement} */ (make('details', ''));
  /** @type {HTMLElement | null} */
  #actions = null;

  /** @param {string} name */
  constructor(name) {
    this.element = make('div', 'tool');
    this.element.setAttribute('role', 'group');
    this.element.setAttribute('aria-label', `Tool: ${name}`);
    this.name = name;
    const summary = make('summary', '');
    this.#name.textContent = name;
    summary.append(this.#name, this.#state);
    this.#details.append(summary, this.#body);
    this.element.append(this.#details);
    this.#show('running');
  }

  /** @param {unknown} value */
  addArguments(value) {
    if (value !== undefined && value !== null && value !== '') this.#addValue('Arguments', value);
  }

  /** @param {unknown} result */
  finish(result) {
    this.#addValue('Result', result);
    this.#settle('done');
  }

  /** @param {unknown} error */
  fail(error) {
    this.#addValue('Error', error);
    this.#settle('failed');
  }

  /** It waits for a person. @param {(decision: Decision) => void} onDecide */
  wait(onDecide) {
    if (this.state === 'waiting') return;
    this.#settle('waiting');
    this.#details.open = true;
    this.#actions = make('p', 'tool-actions');
    for (const [decision, words] of /** @type {[Decision, string][]} */ ([['approve', 'Approve'], ['reject', 'Reject']])) {
      this.#actions.append(makeButton(words, () => onDecide(decision)));
    }
    this.element.append(this.#actions);
  }

  /** It no longer waits. @param {Decision | null} decision `null`: it expired, or the decision is not known */
  resolve(decision) {
    if (this.state === 'waiting') this.#settle(decision ?? 'open');
  }

  /** Its turn has ended. */
  end() {
    if (this.state === 'running') this.#settle('open');
  }

  /** @param {State} state */
  #settle(state) {
    this.#actions?.remove();
    this.#actions = null;
    this.#show(state);
  }

  /** @param {State} state */
  #show(state) {
    this.state = state;
    this.element.dataset.state = state;
    this.#state.textContent = STATE_WORDS[state];
  }

  /** @param {string} label @param {unknown} value */
  #addValue(label, value) {
    this.#body.append(make('p', 'tool-label', label), valueElement(label, value));
  }
}

/** Any JSON value as scrollable text. @param {string} label @param {unknown} value */
export function valueElement(label, value) {
  const pre = make('pre', '', typeof value === 'string' ? value : JSON.stringify(value ?? null, null, 2));
  pre.tabIndex = 0;
  pre.setAttribute('role', 'group');
  pre.setAttribute('aria-label', label);
  return pre;
}
