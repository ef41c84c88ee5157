/**
 * A text of the agent, drawn while it grows: only its last block is parsed and changed again.
 *
 * @module chat-text
 */

import { highlight } from './chat-code.js';
import { blockElement, parseBlocks } from './chat-markdown.js';
import { typeset } from './chat-math.js';
import { morph } from './chat-morph.js';
import { presentable } from './chat-unfinished.js';

const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m; // of a link's address: it may change blocks before it

export class TextView {
  text = '';
  /** The number of blocks, and of their characters, that no longer change. */
  #settledBlocks = 0;
  #settledChars = 0;

  constructor() {
    this.element = document.createElement('div');
    this.element.className = 'text';
  }

  /** @param {string} text the whole text so far @param {boolean} isWhole is it complete? */
  show(text, isWhole) {
    const hasDefinitions = isWhole && DEFINITION.test(text);
    if (hasDefinitions || !text.startsWith(this.text.slice(0, this.#settledChars))) this.#settledBlocks = this.#settledChars = 0;
    this.text = text;
    const rest = text.slice(this.#settledChars);
    const source = isWhole ? rest : presentable(rest);
    const blocks = parseBlocks(source);
    this.#draw(blocks);
    if (hasDefinitions || blocks.length) this.#settle(blocks, source, isWhole);
  }

  /** @param {import('./chat-markdown.js').Block[]} blocks */
  #draw(blocks) {
    const { children } = this.element;
    blocks.forEach((block, index) => {
      const place = this.#settledBlocks + index;
      const wanted = blockElement(block, this.#levelBefore(place));
      if (children[place]) morph(children[place], wanted);
      else this.element.append(wanted);
    });
    while (children.length > this.#settledBlocks + blocks.length) children[children.length - 1].remove();
  }

  /** The level of the last heading before a block: the page's own is 1. @param {number} place */
  #levelBefore(place) {
    for (let index = place - 1; index >= 0; index--) {
      const { tagName } = this.element.children[index];
      if (/^H[1-6]$/.test(tagName)) return Number(tagName[1]);
    }
    return 1;
  }

  /** @param {import('./chat-markdown.js').Block[]} blocks @param {string} source @param {boolean} isWhole */
  #settle(blocks, source, isWhole) {
    const count = isWhole ? blocks.length : blocks.length - 1;
    for (let index = 0; index < count; index++) finish(/** @type {HTMLElement} */ (this.element.children[this.#settledBlocks + index]));
    this.#settledBlocks += count;
    this.#settledChars += isWhole ? source.length : startOfLine(source, blocks[count].line);
  }
}

/** @param {string} text @param {number} line counted from 0 */
function startOfLine(text, line) {
  let start = 0;
  for (let count = 0; count < line; count++) start = text.indexOf('\n', start) + 1;
  return start;
}

/** Draw the parts that wait until a block is complete. @param {HTMLElement} block */
function finish(block) {
  const within = (/** @type {string} */ selector) => /** @type {HTMLElement[]} */ ([...(block.matches(selector) ? [block] : []), ...block.querySelectorAll(selector)]);
  for (const figure of within('figure.code')) void highlight(figure);
  for (const formula of within('.math')) void typeset(formula);
}
