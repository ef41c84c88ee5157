/**
 * Formulas: shown as source until KaTeX is loaded, then as MathML, which needs neither fonts nor styles of its own.
 *
 * @module chat-math
 */

import { make } from './chat-dom.js';

const MAX_TEX_CHARS = 5000;
const OPTIONS = /** @type {const} */ ({
  output: 'mathml',
  throwOnError: true, // it would show the error with an inline style, which the page's policy forbids
  trust: false, // no links, images or classes from a formula
  strict: 'ignore',
  maxExpand: 500,
  maxSize: 20,
});

/** @type {Promise<unknown> | undefined} */
let loaded;

/** @param {string} tex @param {boolean} isBlock */
export function mathElement(tex, isBlock) {
  const element = make(isBlock ? 'div' : 'span', isBlock ? 'math block' : 'math');
  element.dataset.tex = tex;
  element.append(make('code', '', tex));
  if (isBlock) element.tabIndex = 0; // it scrolls sideways
  return element;
}

/** Typeset a complete formula; one that KaTeX does not understand stays as source. @param {HTMLElement} element */
export async function typeset(element) {
  const tex = element.dataset.tex ?? '';
  if (tex.length > MAX_TEX_CHARS) return;
  loaded ??= import('./vendor/katex.js');
  await loaded;
  const drawn = document.createElement('span');
  try {
    globalThis.katex.render(tex, drawn, { ...OPTIONS, displayMode: element.classList.contains('block') });
  } catch {
    return;
  }
  const math = drawn.querySelector('math');
  if (math) element.replaceChildren(math);
}
