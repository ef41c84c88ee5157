// The common parts of the admin's live pages: polling, sending a form, formatting times.

const LOOK_MS = 1000;
const OLD = 'The data below is not current.';
/** @type {Record<string, string>} */
const REASONS = { store_unavailable: 'The store is not responding.' }; // the text for clients is about their message

/**
 * A session, as sent to the live pages.
 *
 * @typedef {object} Session
 * @property {string} session_id
 * @property {string} epoch
 * @property {number} offset
 * @property {{status: string} | null} active
 * @property {string[]} queued
 * @property {number} pending questions of the agent that wait for a person
 * @property {number} viewers
 * @property {number} idle_seconds
 * @property {number} age_seconds
 * @property {string} url of its page
 * @property {string} user its owner; empty without one
 * @property {{words: string, at: string} | null} [last_error] in the list: the last hour's
 */

/**
 * Call `show` with the JSON from `url` every second while the page is visible; report when there is none, or when the
 * answer has a `warning`.
 *
 * @param {string} url
 * @param {(answer: any) => void} show `any`: each page knows the type of its answer
 */
export function watch(url, show) {
  const look = async () => {
    if (!document.hidden) {
      try {
        const response = await fetch(url, { headers: { Accept: 'application/json' } });
        if (response.status === 403) return sayTrouble('You are logged out, or do not have permission. Reload the page.');
        const answer = await response.json();
        if (response.ok) show(answer);
        sayTrouble(response.ok ? answer.warning ?? '' : `${REASONS[answer.code] ?? answer.content} ${OLD}`);
      } catch {
        sayTrouble(`The gateway cannot be reached at the moment. ${OLD}`);
      }
    }
    setTimeout(look, LOOK_MS);
  };
  look();
}

/**
 * Show what is wrong; announce it once, not every second.
 *
 * @param {string} words
 */
function sayTrouble(words) {
  const trouble = byId('relay-trouble');
  if (trouble.textContent !== words) trouble.textContent = words;
  trouble.hidden = !words;
}

/**
 * Handle a form in this page, after the confirmation that its button asks for. The form is disabled until then: a click
 * before this script runs would send it without a question.
 *
 * @param {string} id
 * @param {(form: HTMLFormElement, button: HTMLButtonElement) => void} submit
 */
export function handle(id, submit) {
  const form = /** @type {HTMLFormElement | null} */ (document.getElementById(id));
  if (!form) return; // the operator may only watch
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (isConfirmed(event)) submit(form, /** @type {HTMLButtonElement} */ (event.submitter));
  });
  /** @type {HTMLFieldSetElement} */ (query('fieldset', form)).disabled = false;
}

/**
 * Send a form without leaving the page, and show the result beside it.
 *
 * @param {HTMLFormElement} form
 * @param {string} url
 */
export async function send(form, url) {
  const said = query('.relay-said', form);
  said.textContent = '…';
  try {
    const response = await fetch(url, { method: 'POST', body: new FormData(form) });
    const { words, content, detail } = await response.json();
    said.textContent = words ?? content ?? detail ?? '';
    return response.ok;
  } catch {
    said.textContent = 'The request did not reach the gateway. Try again.';
    return false;
  }
}

/**
 * Ask for confirmation of a destructive action; its button has the question.
 *
 * @param {SubmitEvent} event
 */
function isConfirmed(event) {
  const question = event.submitter?.dataset.question;
  return !question || window.confirm(question);
}

/**
 * @param {number} number
 * @param {string} noun
 */
export function counted(number, noun) {
  return number === 1 ? `1 ${noun}` : `${number} ${noun}s`;
}

/** @type {[string, number][]} */
const UNITS = [['d', 86400], ['h', 3600], ['min', 60]];

/** @param {number} seconds */
export function duration(seconds) {
  for (const [unit, size] of UNITS) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

/** @param {Session} session */
export function state(session) {
  return session.active?.status ?? (session.queued.length ? 'queued' : 'idle');
}

/** The growth of each log since the last look, in frames per second: about its tokens per second. */
export class Speeds {
  /** @type {Map<string, {offset: number, at: number}>} */
  #before = new Map();

  /**
   * @param {Session} session
   * @returns {number | null} `null` at the first look
   */
  of(session) {
    const name = `${session.session_id} ${session.epoch}`;
    const now = performance.now();
    const before = this.#before.get(name);
    this.#before.set(name, { offset: session.offset, at: now });
    if (!before || now <= before.at) return null;
    return ((session.offset - before.offset) * 1000) / (now - before.at);
  }

  /**
   * Forget sessions that are gone.
   *
   * @param {Session[]} sessions
   */
  keep(sessions) {
    const names = new Set(sessions.map((session) => `${session.session_id} ${session.epoch}`));
    for (const name of this.#before.keys()) if (!names.has(name)) this.#before.delete(name);
  }
}

/**
 * Find an element that the page's template has.
 *
 * @param {string} id
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {HTMLElement}
 */
export function query(selector, root = document) {
  const found = root.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`the page has no ${selector}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {string} [text]
 */
export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
