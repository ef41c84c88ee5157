/**
 * A block of code: its language, a button that copies it, and colours once the highlighter is loaded.
 *
 * @module chat-code
 */

import { copyOnClick, make, makeButton } from './chat-dom.js';

const MAX_HIGHLIGHTED_CHARS = 50_000; // above this the page would freeze

/** @type {Promise<typeof import('./vendor/highlight.js').default> | undefined} */
let highlighter;

/** @param {string} code @param {string} language as the agent named it, or empty */
export function codeFigure(code, language) {
  const figure = make('figure', 'code');
  const caption = make('figcaption', '');
  const pre = make('pre', '');
  const copy = makeButton('Copy code', () => {});
  copy.classList.add('copy');
  caption.append(make('span', '', language || 'code'), copy);
  pre.tabIndex = 0; // it scrolls sideways, so it must be reachable by keyboard
  pre.setAttribute('role', 'group');
  pre.setAttribute('aria-label', language ? `Code, ${language}` : 'Code');
  pre.append(make('code', '', code));
  figure.dataset.language = language;
  figure.append(caption, pre);
  return figure;
}

/** Make the buttons of code blocks within `container` copy, including blocks that are drawn later. @param {HTMLElement} container */
export function listenForCopies(container) {
  copyOnClick(container, 'figure.code .copy', (button) => button.closest('figure')?.querySelector('code')?.textContent ?? '');
}

/** Colour the code of a complete block. @param {HTMLElement} figure */
export async function highlight(figure) {
  const code = /** @type {HTMLElement} */ (figure.querySelector('code'));
  const text = code.textContent ?? '';
  const language = (figure.dataset.language ?? '').toLowerCase();
  if (!language || text.length > MAX_HIGHLIGHTED_CHARS) return;
  highlighter ??= import('./vendor/highlight.js').then((module) => module.default);
  const { getLanguage, highlight } = await highlighter;
  if (!getLanguage(language)) return;
  const coloured = colouredNodes(highlight(text, { language, ignoreIllegals: true }).value);
  if (coloured.textContent === text && code.textContent === text) code.replaceChildren(coloured);
}

/** The highlighter's spans, created one by one: only text and its own class names are taken from its markup. @param {string} markup */
function colouredNodes(markup) {
  const parsed = new DOMParser().parseFromString(markup, 'text/html'); // inert: runs and loads nothing
  const fragment = document.createDocumentFragment();
  appendColoured(fragment, parsed.body);
  return fragment;
}

/** @param {ParentNode} target @param {Node} source */
function appendColoured(target, source) {
  for (const node of source.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) target.append(node.textContent ?? '');
    if (!(node instanceof HTMLSpanElement)) continue;
    const span = make('span', /^[\w -]*$/.test(node.className) ? node.className : '');
    appendColoured(span, node);
    target.append(span);
  }
}
