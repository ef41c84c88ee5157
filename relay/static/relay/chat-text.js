/**
 * An answer's text as elements: paragraphs, headings, lists, code blocks, and in them `code` and **bold**.
 *
 * Nothing is ever parsed as HTML. While an answer streams only its last block changes, so a selection in the others stays.
 *
 * @module chat-text
 */

/** @typedef {{kind: 'prose' | 'code', text: string, language: string}} Block */

const FENCE = /^ {0,3}(`{3,}|~{3,})(.*)$/;
const LIST_ITEM = /^ {0,3}(?:[-*•]|\d{1,9}[.)]) +/;
const INLINE = /(`[^`\n]+`|\*\*[^*\n]+\*\*)/;

/**
 * Make `container` show `text`.
 *
 * @param {HTMLElement} container
 * @param {string} text
 */
export function showText(container, text) {
  const blocks = splitBlocks(text);
  blocks.forEach((block, index) => {
    const shown = /** @type {HTMLElement | undefined} */ (container.children[index]);
    if (shown?.dataset.kind === 'code' && block.kind === 'code') updateCode(shown, block);
    else if (!shown) container.append(blockElement(block));
    else if (keys.get(shown) !== keyOf(block)) shown.replaceWith(blockElement(block));
  });
  while (container.children.length > blocks.length) container.lastElementChild?.remove();
}

/** What each element shows, to leave it alone when that did not change. @type {WeakMap<Element, string>} */
const keys = new WeakMap();

/** @param {Block} block */
function keyOf(block) {
  return `${block.kind}:${block.text}`;
}

/** @param {string} text @returns {Block[]} */
function splitBlocks(text) {
  /** @type {Block[]} */
  const blocks = [];
  /** @type {string[]} */
  let lines = [];
  let fence = '';
  let language = '';
  const finish = () => {
    const body = lines.splice(0).join('\n');
    if (fence) blocks.push({ kind: 'code', text: body, language });
    else blocks.push(...proseBlocks(body));
  };
  for (const line of text.split('\n')) {
    const [, mark, info] = FENCE.exec(line) ?? [line, '', ''];
    const isClosing = fence !== '' && mark.startsWith(fence) && !info.trim();
    if (isClosing || (!fence && mark)) {
      finish();
      fence = isClosing ? '' : mark;
      language = info.trim().split(/\s/)[0];
    } else {
      lines.push(line);
    }
  }
  finish();
  return blocks;
}

/** @param {string} body @returns {Block[]} one for each paragraph, and each heading */
function proseBlocks(body) {
  const paragraphs = body.split(/\n{2,}|\n(?=#{1,6} )|\n(?<=^#{1,6} .*\n)/m);
  return paragraphs.filter((text) => text.trim()).map((text) => ({ kind: 'prose', text: text.replace(/^\n+|\n+$/g, ''), language: '' }));
}

/** @param {Block} block */
function blockElement(block) {
  const element = block.kind === 'code' ? codeElement(block) : proseElement(block.text);
  if (block.kind === 'prose') element.dir = 'auto'; // Arabic and Hebrew begin on the right; code never does
  element.dataset.kind = block.kind;
  keys.set(element, keyOf(block));
  return element;
}

/** @param {string} text @returns {HTMLElement} */
function proseElement(text) {
  const lines = text.split('\n');
  if (lines.every((line) => LIST_ITEM.test(line))) return listElement(lines);
  const paragraph = document.createElement('p');
  const heading = /^(#{1,6}) +(.*)$/.exec(text);
  if (heading) {
    paragraph.className = 'heading';
    paragraph.append(...inlineNodes(heading[2]));
  } else {
    paragraph.append(...inlineNodes(text));
  }
  return paragraph;
}

/** @param {string[]} lines each with its mark */
function listElement(lines) {
  const isNumbered = /^\d/.test(lines[0]);
  const list = document.createElement(isNumbered ? 'ol' : 'ul');
  if (isNumbered) list.setAttribute('start', String(parseInt(lines[0], 10)));
  for (const line of lines) {
    const item = document.createElement('li');
    item.append(...inlineNodes(line.replace(LIST_ITEM, '')));
    list.append(item);
  }
  return list;
}

/** @param {string} text @returns {Node[]} */
function inlineNodes(text) {
  return text.split(INLINE).map((part, index) => {
    if (index % 2 === 0) return document.createTextNode(part);
    const isCode = part.startsWith('`');
    const element = document.createElement(isCode ? 'code' : 'strong');
    element.textContent = isCode ? part.slice(1, -1) : part.slice(2, -2);
    return element;
  });
}

/** @param {Block} block */
function codeElement(block) {
  const figure = document.createElement('figure');
  const caption = document.createElement('figcaption');
  const pre = document.createElement('pre');
  const code = document.createElement('code');
  caption.textContent = block.language || 'code';
  pre.tabIndex = 0; // it scrolls sideways: the keyboard must reach it
  pre.setAttribute('aria-label', `Code, ${block.language || 'no language given'}`);
  code.append(document.createTextNode(block.text));
  pre.append(code);
  figure.append(caption, pre);
  return figure;
}

/** @param {HTMLElement} figure @param {Block} block */
function updateCode(figure, block) {
  const [caption, pre] = /** @type {any} */ (figure.children);
  const label = block.language || 'code';
  if (caption.textContent !== label) caption.textContent = label;
  const node = /** @type {Text} */ (pre.firstChild.firstChild);
  if (block.text.startsWith(node.data)) node.appendData(block.text.slice(node.data.length));
  else node.data = block.text;
}
