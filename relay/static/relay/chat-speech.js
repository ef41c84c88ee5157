/**
 * The text of an answer for screen readers: words, not source, in sentences, each once.
 *
 * @module chat-speech
 */

const SENTENCE_END = /[.!?…。！？](?:["'”’)\]]*)(?=\s)|\n/gu;
const LEFTOVER_MARKS = /[*_`~|#]+/g;

/** Follows the text of one answer and returns what was added, sentence by sentence. */
export class Speech {
  #units = 0;
  #chars = 0;

  /** Treat the current text as known: it is not announced. @param {HTMLElement} text */
  skip(text) {
    this.#units = speechUnits(text).length;
    this.#chars = 0;
  }

  /** @param {HTMLElement} text what is shown @param {boolean} isWhole @returns {string[]} */
  next(text, isWhole) {
    const units = speechUnits(text);
    /** @type {string[]} */
    const said = [];
    while (this.#units < units.length) {
      const isComplete = isWhole || this.#units < units.length - 1;
      const { words, isProse } = units[this.#units];
      const end = isComplete ? words.length : isProse ? endOfSentences(words) : 0;
      if (end > this.#chars) said.push(words.slice(this.#chars, end).trim());
      this.#chars = Math.max(end, this.#chars);
      if (!isComplete) break;
      this.#units++;
      this.#chars = 0;
    }
    return said.filter(Boolean);
  }
}

/** @param {string} words */
function endOfSentences(words) {
  let end = 0;
  for (const match of words.matchAll(SENTENCE_END)) end = match.index + match[0].length;
  return end;
}

/** @typedef {{words: string, isProse: boolean}} Unit a paragraph, an item, a row of a table, a block of code */

/** @param {Element} container @returns {Unit[]} */
function speechUnits(container) {
  return [...container.children].flatMap(unitsOf);
}

/** @param {Element} element @returns {Unit[]} */
function unitsOf(element) {
  if (element.matches('figure.code')) return [{ words: codeWords(element), isProse: false }];
  if (element.matches('table')) return [...element.querySelectorAll('tr')].map((row) => ({ words: rowWords(row), isProse: false }));
  if (element.matches('.text, ul, ol, blockquote') || isLooseItem(element)) return speechUnits(element);
  if (element.matches('li')) return itemUnits(element);
  return [{ words: proseWords(element), isProse: true }];
}

/** @param {Element} element */
function isLooseItem(element) {
  return element.matches('li') && element.querySelector(':scope > p') !== null;
}

/** The text of an item, then that of the lists in it. @param {Element} item @returns {Unit[]} */
function itemUnits(item) {
  const own = /** @type {Element} */ (item.cloneNode(true));
  for (const inner of own.querySelectorAll(':scope > :is(ul, ol, figure, table, blockquote)')) inner.remove();
  const inner = [...item.querySelectorAll(':scope > :is(ul, ol, figure, table, blockquote)')];
  return [{ words: proseWords(own), isProse: true }, ...inner.flatMap(unitsOf)];
}

/** @param {Element} element */
function proseWords(element) {
  const copy = /** @type {Element} */ (element.cloneNode(true));
  for (const formula of copy.querySelectorAll('.math')) formula.textContent = 'formula';
  const words = element.matches('.math') ? 'Formula.' : (copy.textContent ?? '');
  return words.replace(LEFTOVER_MARKS, '').trimStart();
}

/** @param {Element} figure */
function codeWords(figure) {
  const lines = (figure.querySelector('code')?.textContent ?? '').split('\n').length;
  const language = /** @type {HTMLElement} */ (figure).dataset.language;
  return `Code${language ? `, ${language}` : ''}, ${lines === 1 ? 'one line' : `${lines} lines`}.`;
}

/** @param {Element} row */
function rowWords(row) {
  return `${[...row.children].map(proseWords).join(', ')}.`;
}
