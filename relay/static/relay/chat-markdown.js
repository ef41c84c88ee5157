/**
 * Markdown as elements of an allow-list. The parser produces tokens; no text is ever parsed as HTML.
 *
 * @module chat-markdown
 */

import { codeFigure } from './chat-code.js';
import { make } from './chat-dom.js';
import { mathElement } from './chat-math.js';
import { addMathRules } from './chat-math-rules.js';
import MarkdownIt from './vendor/markdown-it.js';

/** @typedef {import('./vendor/markdown-it.js').Token} Token */
/** @typedef {{tokens: Token[], line: number}} Block a top-level block, and the line on which it starts */

const TAGS = new Set(['p', 'ul', 'ol', 'li', 'blockquote', 'strong', 'em', 's', 'table', 'thead', 'tbody', 'tr', 'th', 'td']);
const LINKED_PROTOCOLS = new Set(['http:', 'https:', 'mailto:']);
const TASK = /^\[([ xX])\] /;

const parser = new MarkdownIt({ html: false, linkify: true });
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false }); // `setup.py` is not an address
addMathRules(parser);

/** @param {string} source @returns {Block[]} */
export function parseBlocks(source) {
  /** @type {Block[]} */
  const blocks = [];
  let depth = 0;
  for (const token of parser.parse(source, {})) {
    if (depth === 0) blocks.push({ tokens: [], line: token.map?.[0] ?? 0 });
    blocks[blocks.length - 1].tokens.push(token);
    depth += token.nesting;
  }
  return blocks;
}

/**
 * The element of a top-level block.
 *
 * @param {Block} block
 * @param {number} level the level of the previous heading: skipping a level would leave holes in a screen reader's outline
 * @returns {HTMLElement}
 */
export function blockElement(block, level) {
  const holder = document.createElement('div');
  appendTokens(holder, block.tokens, level);
  const element = /** @type {HTMLElement} */ (holder.firstElementChild ?? document.createElement('p'));
  if (element.tagName !== 'FIGURE') element.dir = 'auto'; // Arabic and Hebrew start on the right; code never does
  return element;
}

/** @param {HTMLElement} container @param {Token[]} tokens @param {number} level */
function appendTokens(container, tokens, level) {
  const open = [container];
  tokens.forEach((token, index) => {
    const parent = open[open.length - 1];
    if (token.type === 'inline') {
      if (tokens[index - 2]?.type === 'list_item_open') prependTaskBox(parent, token.children ?? []);
      appendTokens(parent, token.children ?? [], level);
    } else if (token.nesting === 1) {
      const element = openedElement(token, level);
      if (element) parent.append(element);
      open.push(element ?? parent);
    } else if (token.nesting === -1) {
      open.pop();
    } else {
      parent.append(leafNode(token));
    }
  });
}

/** @param {Token} token @param {number} level @returns {HTMLElement | null} `null`: only its content is shown */
function openedElement(token, level) {
  if (token.hidden) return null; // the paragraph of a tight list
  if (token.type === 'link_open') return linkElement(token.attrGet('href') ?? '');
  if (token.type === 'heading_open') return document.createElement(`h${Math.min(Number(token.tag[1]) + 1, level + 1, 6)}`);
  if (!TAGS.has(token.tag)) return null;
  const element = document.createElement(token.tag);
  const align = /^text-align:(left|right|center)$/.exec(token.attrGet('style') ?? '');
  if (align) element.className = align[1];
  const start = token.tag === 'ol' && token.attrGet('start');
  if (start) element.setAttribute('start', start);
  if (token.tag === 'table') element.tabIndex = 0; // it scrolls sideways, so it must be reachable by keyboard
  return element;
}

/** @param {Token} token @returns {Node} */
function leafNode(token) {
  switch (token.type) {
    case 'softbreak':
      return document.createTextNode('\n');
    case 'hardbreak':
    case 'hr':
      return document.createElement(token.tag);
    case 'code_inline':
      return make('code', '', token.content);
    case 'fence':
    case 'code_block':
      return codeFigure(token.content.replace(/\n$/, ''), token.info.trim().split(/\s/)[0]);
    case 'math_inline':
    case 'math_block':
      return mathElement(token.content, token.block);
    case 'image':
      return imageLink(token);
    default:
      return document.createTextNode(token.content);
  }
}

/** @param {string} href @returns {HTMLAnchorElement | null} */
function linkElement(href) {
  const url = URL.canParse(href) ? new URL(href) : null; // an agent cannot know addresses within this origin
  if (!url || !LINKED_PROTOCOLS.has(url.protocol)) return null;
  const link = document.createElement('a');
  link.href = url.href;
  link.rel = 'noopener noreferrer nofollow';
  link.target = '_blank';
  return link;
}

/** An image is never loaded: its server would learn who is reading. @param {Token} token @returns {Node} */
function imageLink(token) {
  const words = `Image: ${token.content || 'without a description'}`;
  const link = linkElement(token.attrGet('src') ?? '') ?? make('span', '');
  link.classList.add('image');
  link.textContent = words;
  return link;
}

/** @param {HTMLElement} parent @param {Token[]} children of a list item's first line */
function prependTaskBox(parent, children) {
  const [first] = children;
  const task = first?.type === 'text' && TASK.exec(first.content);
  if (!task) return;
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.disabled = true;
  box.toggleAttribute('checked', task[1] !== ' ');
  box.setAttribute('aria-label', task[1] === ' ' ? 'To do' : 'Done');
  first.content = first.content.slice(task[0].length);
  parent.classList.add('task');
  parent.append(box);
}
